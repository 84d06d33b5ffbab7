"""The shapes a pipeline can take, in tasks of no cost: condition, loop, collected results, nested pipeline,
exit handler and metrics."""

from kfp import dsl
from kfp.dsl import Metrics, Output, PipelineTaskFinalStatus

from kfp_pipelines.environment import BASE_IMAGE


@dsl.component(base_image=BASE_IMAGE)
def square(number: int) -> int:
    """Squares.

    Args:
        number: What to square.
    """
    return number * number


@dsl.component(base_image=BASE_IMAGE)
def add(numbers: list[int], scores: Output[Metrics]) -> int:
    """Adds up, and logs count and total as metrics.

    Args:
        numbers: What to add.
        scores: The metrics count and total.
    """
    total = int(sum(numbers))
    scores.log_metric("count", len(numbers))
    scores.log_metric("total", total)
    return total


@dsl.component(base_image=BASE_IMAGE)
def say(text: str) -> str:
    """Prints and returns the text.

    Args:
        text: What to say.
    """
    print(text)
    return text


@dsl.component(base_image=BASE_IMAGE)
def conclude(status: PipelineTaskFinalStatus):
    """Says how the work before it ended, whichever way it did.

    Args:
        status: The state of what the exit handler guards.
    """
    print(f"ended {status.state}")


@dsl.pipeline(name="sum-of-squares")
def sum_of_squares(numbers: list[int]) -> int:
    """Squares each number in a loop and adds the squares up.

    Args:
        numbers: What to square.
    """
    with dsl.ParallelFor(numbers) as number:
        squared = square(number=number)
    return add(numbers=dsl.Collected(squared.output)).outputs["Output"]


@dsl.pipeline(
    name="shapes", description="A condition, a loop, a nested pipeline, metrics and an exit handler."
)
def shapes(numbers: list[int] = [1, 2, 3], limit: int = 10):  # noqa: B006 -- written into the compiled pipeline
    """Says whether the sum of the squares is above the limit.

    Args:
        numbers: What to square and add up.
        limit: What the sum is compared with.
    """
    with dsl.ExitHandler(conclude()):
        total = sum_of_squares(numbers=numbers)
        with dsl.If(total.output > limit):
            say(text="above")
        with dsl.Else():
            say(text="not above")
