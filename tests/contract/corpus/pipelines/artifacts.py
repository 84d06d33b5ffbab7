"""Artifacts: kinds, metadata, metrics, places of one's own, importers, and loops over them."""

from typing import List

from kfp import dsl
from kfp.dsl import HTML, Artifact, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output


@dsl.component(base_image="python:3.11")
def make(
    data: Output[Dataset],
    model: Output[Model],
    scores: Output[Metrics],
    curves: Output[ClassificationMetrics],
    page: Output[HTML],
    notes: Output[Markdown],
    empty: Output[Artifact],
):
    """One artifact of each kind."""
    with open(data.path, "w") as file:
        file.write("1,2")
    data.metadata.update({"rows": 1, "share": 0.5, "name": "ü", "columns": ["a", "b"], "more": {"deep": [1]}})
    with open(model.path, "w") as file:
        file.write("weights")
    model.framework = "none"
    scores.log_metric("auc", 0.75)
    scores.log_metric("rows", 3)
    scores.log_metric("verdict", "fine")
    curves.log_roc_curve([0.0, 0.5, 1.0], [0.0, 0.8, 1.0], [1.0, 0.5, 0.0])
    curves.log_confusion_matrix(["late", "on time"], [[3, 1], [2, 4]])
    with open(page.path, "w") as file:
        file.write("<p>fine</p>")
    with open(notes.path, "w") as file:
        file.write("# fine")


@dsl.component(base_image="python:3.11")
def elsewhere(thing: Output[Artifact]):
    """Puts its artifact at a path of its own choice."""
    import os
    import tempfile

    path = os.path.join(tempfile.mkdtemp(), "mine.txt")
    with open(path, "w") as file:
        file.write("from elsewhere")
    thing.set_path(path)


@dsl.component(base_image="python:3.11")
def read(thing: Input[Artifact]) -> str:
    """Gives what is in an artifact, and prints its metadata."""
    print(sorted(thing.metadata.items()))
    with open(thing.path) as file:
        return file.read()


@dsl.component(base_image="python:3.11")
def place_of(thing: Input[Artifact]) -> str:
    """Gives an artifact's URI."""
    return thing.uri


@dsl.pipeline(name="hands-up")
def hands_up() -> Artifact:
    """An artifact out of a nested pipeline."""
    return elsewhere().outputs["thing"]


@dsl.pipeline(name="artifacts")
def artifacts(label: str = "first") -> Artifact:
    """Every kind of artifact; one through a nested pipeline and an importer."""
    made = make()
    read(thing=made.outputs["data"])
    moved = hands_up()
    read(thing=moved.output)
    where = place_of(thing=made.outputs["data"])
    imported = dsl.importer(
        artifact_uri=where.output,
        artifact_class=Dataset,
        metadata={"label": label, "kept": "yes"},
        reimport=False,
    )
    again = dsl.importer(
        artifact_uri=where.output,
        artifact_class=Dataset,
        metadata={"label": label, "kept": "yes"},
        reimport=True,
    )
    read(thing=imported.output)
    read(thing=again.output)
    return moved.output


@dsl.component(base_image="python:3.11")
def write(word: str, thing: Output[Artifact]):
    """Writes a word into an artifact."""
    with open(thing.path, "w") as file:
        file.write(word)


@dsl.component(base_image="python:3.11")
def join(things: Input[List[Artifact]]) -> str:
    """Joins what is in many artifacts, in their order."""
    words = []
    for thing in things:
        with open(thing.path) as file:
            words.append(file.read())
    return " ".join(words)


@dsl.pipeline(name="words")
def words(of: list) -> List[Artifact]:
    """An artifact of each word."""
    with dsl.ParallelFor(of) as word:
        written = write(word=word)
    return dsl.Collected(written.outputs["thing"])


@dsl.pipeline(name="artifacts-of-loops")
def artifacts_of_loops() -> str:
    """A loop makes a list of artifacts, another goes over that list, and two nested loops make a flat one."""
    made = words(of=["x", "y"])
    with dsl.ParallelFor(items=made.output) as thing:
        read(thing=thing)
    with dsl.ParallelFor(["a", "b"]):
        with dsl.ParallelFor(["c", "d"]) as letter:
            one = write(word=letter).set_caching_options(False)
    return join(things=dsl.Collected(one.outputs["thing"])).output
