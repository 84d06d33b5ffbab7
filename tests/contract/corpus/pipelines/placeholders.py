"""Every placeholder of a container's command line."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output


@dsl.container_component
def make(data: Output[Dataset]):
    """A file."""
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-c", 'mkdir -p "$(dirname "$0")"; printf made > "$0"'],
        args=[data.path],
    )


@dsl.container_component
def tell(
    text: str,
    whole: int,
    decimal: float,
    flag: bool,
    items: list,
    table: dict,
    data: Input[Dataset],
    result: Output[Artifact],
    given: str = None,
    left_out: str = None,
):
    """Prints each of its arguments on a line of its own."""
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-c", 'printf "<%s>\\n" "$@"', "tell"],
        args=[
            text,
            whole,
            decimal,
            flag,
            items,
            table,
            dsl.ConcatPlaceholder(["[", text, "|", whole, "]"]),
            dsl.ConcatPlaceholder(
                ["(", dsl.IfPresentPlaceholder(input_name="left_out", then="there", else_="not there"), ")"]
            ),
            dsl.IfPresentPlaceholder(input_name="given", then=["--given", given], else_=["--not-given"]),
            dsl.IfPresentPlaceholder(input_name="left_out", then=["--left-out", left_out]),
            f"data={data.path}",
            data.uri,
            result.uri,
            result.path,
            "last",
        ],
    )


@dsl.container_component
def names(job: str, resource: str, job_id: str, task: str, task_id: str):
    """Prints what it is told of its run and of itself."""
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-c", 'printf "<%s>\\n" "$@"', "names"],
        args=[job, resource, job_id, task, task_id],
    )


@dsl.container_component
def whole_input(text: str):
    """Prints its executor input."""
    return dsl.ContainerSpec(
        image="alpine", command=["echo"], args=[text, dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER]
    )


@dsl.pipeline(name="placeholders")
def placeholders():
    """Arguments of every kind."""
    made = make()
    tell(
        text="a 'b' \"c\" $HOME",
        whole=3,
        decimal=2.0,
        flag=True,
        items=[1, "two", 2.5],
        table={"a": 1},
        data=made.outputs["data"],
        given="yes",
    )
    names(
        job=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        resource=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
        job_id=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        task=dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
        task_id=dsl.PIPELINE_TASK_ID_PLACEHOLDER,
    )
    whole_input(text="is")
