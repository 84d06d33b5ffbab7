"""What happens where something fails: exit handlers, ignored failures, and everything downstream."""

from kfp import dsl
from kfp.dsl import PipelineTaskFinalStatus


@dsl.container_component
def say(text: str, said: dsl.OutputPath(str)):
    """Prints a text and gives it."""
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-c", 'echo "$0"; mkdir -p "$(dirname "$1")"; printf %s "$0" > "$1"'],
        args=[text, said],
    )


@dsl.container_component
def fail(word: str, said: dsl.OutputPath(str)):
    """Says a word on its way out."""
    return dsl.ContainerSpec(image="alpine", command=["sh", "-c", 'echo "$0" >&2; exit 3'], args=[word])


@dsl.component(base_image="python:3.11")
def conclude(status: PipelineTaskFinalStatus) -> str:
    """Says how it ended."""
    print(status.pipeline_job_resource_name)
    return f"{status.pipeline_task_name} {status.state}"


@dsl.pipeline(name="work")
def work(word: str) -> str:
    """Fails, after it has said something."""
    return fail(word=say(text=word).outputs["said"]).outputs["said"]


@dsl.pipeline(name="exits")
def exits():
    """An exit handler around a nested pipeline that fails."""
    with dsl.ExitHandler(conclude()):
        say(text=work(word="woe").output)
        say(text="beside it")


@dsl.pipeline(name="exits-of-success")
def exits_of_success(word: str = "fine"):
    """An exit handler with an input of the pipeline, around a loop."""
    with dsl.ExitHandler(say(text=word)):
        with dsl.ParallelFor(["a", "b"]) as letter:
            say(text=letter)


@dsl.pipeline(name="failures")
def failures():
    """One iteration of a loop fails; its siblings go on, what comes after does not run."""
    with dsl.ParallelFor(["fine", "bad"]) as word:
        with dsl.If(word == "bad"):
            fail(word=word)
        with dsl.Else():
            said = say(text=word)
            say(text=said.outputs["said"])
    say(text="beside the loop")
    failed = work(word="deep")
    say(text="after the failure").after(failed)


@dsl.component(base_image="python:3.11")
def sweep(word: str = "nothing came") -> str:
    """Says what it got."""
    return f"swept: {word}"


@dsl.pipeline(name="ignored-failures")
def ignored_failures():
    """What ignores an upstream failure runs, with its default in the place of what did not come."""
    failed = fail(word="woe")
    sweep(word=failed.outputs["said"]).ignore_upstream_failure()
    fine = say(text="fine")
    sweep(word=fine.outputs["said"]).ignore_upstream_failure()
