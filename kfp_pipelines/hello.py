"""The smallest pipeline: one component without packages, one parameter in, one out."""

from kfp import dsl

from kfp_pipelines.environment import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE)
def greet(name: str) -> str:
    """Greets.

    Args:
        name: Whom to greet.
    """
    greeting = f"Hello, {name}!"
    print(greeting)
    return greeting


@dsl.pipeline(name="hello", description="Greets whoever is named.")
def hello(name: str = "world") -> str:
    """Greets whoever is named.

    Args:
        name: Whom to greet.
    """
    return greet(name=name).output
