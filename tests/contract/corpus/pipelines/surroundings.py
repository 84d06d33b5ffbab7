"""What surrounds a component: variables, resources by parameters, embedded files, packages."""

from pathlib import Path

from kfp import dsl


@dsl.component(base_image="python:3.11")
def variables(names: list) -> dict:
    """Gives the variables of these names."""
    import os

    return {name: os.environ.get(name) for name in names}


@dsl.component(base_image="python:3.11", embedded_artifact_path=str(Path(__file__).with_name("embedded")))
def carried(folder: dsl.EmbeddedInput[dsl.Dataset]) -> str:
    """Reads a file that the component carries with it."""
    import os

    with open(os.path.join(folder.path, "words.txt")) as file:
        return file.read()


@dsl.component(base_image="python:3.11", packages_to_install=["pydantic>=2,<3"])
def checked(table: dict) -> str:
    """Reads its input into a model."""
    import pydantic

    class Settings(pydantic.BaseModel):
        depth: pydantic.StrictInt
        names: list[str]

    return repr(Settings(**table))


@dsl.pipeline(name="surroundings")
def surroundings(cpu: str = "500m", memory: str = "256Mi"):
    """One task for each."""
    variables(names=["MODE", "EMPTY", "NOT_THERE"]).set_env_variable("MODE", "dry run").set_env_variable(
        "EMPTY", ""
    )
    carried().set_cpu_limit(cpu).set_memory_limit(memory)
    checked(table={"depth": 3, "names": ["a"]})
