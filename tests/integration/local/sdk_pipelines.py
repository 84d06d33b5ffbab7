"""Pipelines written with the kfp SDK, compiled in a process of their own: ``python sdk_pipelines.py FOLDER``.

Nothing here is imported by tests: kfp belongs into the processes that compile and run components.
"""

import sys
from pathlib import Path
from typing import NamedTuple

from kfp import compiler, dsl
from kfp.dsl import (
    HTML,
    Artifact,
    ClassificationMetrics,
    Dataset,
    Input,
    Markdown,
    Metrics,
    Model,
    Output,
)

# The compiler copies the text of these functions, so they stand by themselves and read as users write them.
# ruff: noqa: PTH103, PTH118, PTH123, PTH208, SIM115, PT018


@dsl.component
def make_data(rows: int, data: Output[Dataset]) -> NamedTuple("Made", [("count", int), ("names", list)]):
    with open(data.path, "w") as file:
        file.write("\n".join(str(number) for number in range(rows)))
    data.metadata["rows"] = rows
    return (rows, ["a", "b"])


@dsl.component
def train(
    data: Input[Dataset],
    config: dict,
    rate: float,
    shuffle: bool,
    model: Output[Model],
    metrics: Output[Metrics],
    curves: Output[ClassificationMetrics],
    report: Output[HTML],
    notes: Output[Markdown],
) -> float:
    lines = open(data.path).read().splitlines()
    assert data.metadata["rows"] == len(lines)
    assert isinstance(config["depth"], int) and isinstance(rate, float) and shuffle is True
    with open(model.path, "w") as file:
        file.write("weights")
    model.metadata["framework"] = "none"
    metrics.log_metric("auc", 0.75)
    metrics.log_metric("rows", len(lines))
    curves.log_roc_curve([0.0, 0.5, 1.0], [0.0, 0.8, 1.0], [1.0, 0.5, 0.0])
    curves.log_confusion_matrix(["late", "on time"], [[3, 1], [2, 4]])
    for place in (report, notes):
        with open(place.path, "w") as file:
            file.write("<p>fine</p>")
    return 0.75


@dsl.component
def elsewhere(out: Output[Artifact]):
    import os

    path = os.path.join(os.environ["TMPDIR"], "mine.txt")
    with open(path, "w") as file:
        file.write("from a custom path")
    out.set_path(path)


@dsl.component
def read(thing: Input[Artifact]) -> str:
    return open(thing.path).read()


@dsl.component
def double(n: int) -> int:
    assert isinstance(n, int)
    return 2 * n


@dsl.component
def total(numbers: list) -> int:
    assert all(isinstance(number, int) for number in numbers), numbers
    return sum(numbers)


@dsl.component
def pick(n: int) -> str:
    return "big" if n > 5 else "small"


@dsl.component
def say(word: str, suffix: str = "!") -> str:
    return word + suffix


@dsl.component
def fail(reason: str):
    raise ValueError(reason)


@dsl.component
def record(status: dsl.PipelineTaskFinalStatus) -> str:
    return f"{status.pipeline_task_name} {status.state}"


@dsl.component
def pack(rows: Input[Dataset], model: Output[Model], parts: Output[Dataset], named: Output[Artifact]) -> dict:
    import os

    with open(model.path, "w") as file:
        file.write(open(rows.path).read().upper())
    os.makedirs(parts.path)
    for name in ("a", "b"):
        with open(os.path.join(parts.path, name), "w") as file:
            file.write(name)
    named.uri = dsl.get_uri("by-name")
    with open(named.path, "w") as file:
        file.write("named")
    return {"rows": rows.uri, "model": model.uri}


@dsl.component
def unpack(parts: Input[Dataset], named: Input[Artifact], metrics: Output[Metrics]) -> str:
    import os

    metrics.log_metric("parts", len(os.listdir(parts.path)))
    return open(os.path.join(parts.path, "b")).read() + open(named.path).read()


@dsl.pipeline(name="in-buckets")
def in_buckets(uri: str):
    rows = dsl.importer(artifact_uri=uri, artifact_class=Dataset, reimport=False)
    packed = pack(rows=rows.output)
    unpack(parts=packed.outputs["parts"], named=packed.outputs["named"])


@dsl.pipeline(name="everything")
def everything(rows: int = 3, base: int = 10, word: str = "hi") -> int:
    made = make_data(rows=rows)
    train(data=made.outputs["data"], config={"depth": 3}, rate=1.0, shuffle=True)
    read(thing=elsewhere().outputs["out"])
    with dsl.ParallelFor([1, 2, 3], parallelism=2) as n:
        doubled = double(n=n)
    added = total(numbers=dsl.Collected(doubled.output))
    with dsl.If(pick(n=added.output).output == "big"):
        yes = say(word=f"{word} big")
    with dsl.Else():
        no = say(word=f"{word} small", suffix="?")
    say(word=dsl.OneOf(yes.output, no.output))
    imported = dsl.importer(artifact_uri="file:///etc/hostname", artifact_class=Dataset, reimport=False)
    read(thing=imported.output).after(made)
    return added.output


@dsl.pipeline(name="with-inner")
def with_inner(base: int = 20) -> int:
    inner = everything(base=base)
    return double(n=inner.output).output


@dsl.pipeline(name="breaks")
def breaks(reason: str = "no flights on this day"):
    with dsl.ExitHandler(record()):
        say(word="fine")
        fail(reason=reason)


if __name__ == "__main__":
    for pipeline in (everything, with_inner, breaks, in_buckets):
        compiler.Compiler().compile(pipeline, str(Path(sys.argv[1]) / f"{pipeline.name}.yaml"))
