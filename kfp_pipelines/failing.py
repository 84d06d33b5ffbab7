"""A pipeline that fails: what a component's error looks like from the outside is shown with it."""

from kfp import dsl

from kfp_pipelines.environment import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE)
def prepare(lines: int) -> int:
    """Succeeds, so that the run has more than the failed task.

    Args:
        lines: Passed on.
    """
    print(f"the next task will print {lines} lines and fail")
    return lines


@dsl.component(base_image=BASE_IMAGE)
def explode(message: str, lines: int):
    """Prints lines and raises.

    Args:
        message: What the error says.
        lines: How many lines to print first.
    """
    for number in range(1, lines + 1):
        print(f"line {number} of {lines}", flush=True)
    raise ValueError(message)


@dsl.pipeline(name="failing", description="Fails in its second task, with the message it is given.")
def failing(message: str = "the fuse was lit", lines: int = 5):
    """Fails in its second task.

    Args:
        message: What the error says.
        lines: How many lines the failing task prints before.
    """
    prepared = prepare(lines=lines)
    explode(message=message, lines=prepared.output).set_caching_options(False)
