"""The expectations: what runs of a pipeline are to give, worked out by hand from its IR and its components.

A file ``expectations/<folder>/<name>.yaml`` belongs to the compiled pipeline of that name:

    says: what the pipeline does, in a sentence
    needs: what it needs that is not here, if anything; the runs then say what happens instead
    runs:
      - arguments: {a: 3, b: 4}
        state: SUCCEEDED
        outputs: {Output: 7}
        from: where state and outputs follow from, in words
        tasks:
          add-numbers: {state: SUCCEEDED, inputs: {a: 3, b: 4}, outputs: {Output: 7}, from: …}

``tasks`` names every task the run is to have, by its path; nothing may be missing and nothing may be there
beside. ``loop[0..2].print`` stands for three tasks; a ``!text`` may name the index ``{i}`` and ``{n}``, one
more. What a task puts out (outputs, artifacts, metrics, blobs) is the whole of it: where nothing is named,
nothing may be. Artifacts of a DAG, and ``inputs`` and ``takes`` of every task are compared where they are
given; inputs that are not named may be there, as KFP lists some that the component does not declare.

A pipeline that flips coins names ``worlds``: each is an outcome that would be right, its tasks are those of
the run and its own, and one of them has to hold as a whole.

Values are compared as ``tests.contract.corpus.matching`` says.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from bridge.domain.states import RuntimeState
from tests.contract.corpus.matching import Anything, Between, Known, Let, Matches, OneOf, OtherThan, Text
from tests.support.corpus import corpus_dir

_HERE = Path(__file__).resolve().parent
EXPECTATIONS = _HERE / "expectations"
# Pipelines of this repository; every other folder is one of KFP's corpus.
_OURS = {
    "own": _HERE / "pipelines" / "compiled",
    "examples": _HERE.parents[2] / "kfp_pipelines" / "compiled",
}
_RANGE = re.compile(r"\[(\d+)\.\.(\d+)\]")

Why = Annotated[str, Field(alias="from", min_length=10)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class ExpectedArtifact(_Model):
    """An artifact that a task puts out. ``content`` is the text of the file, or of each file by its path
    in a folder; ``None`` where it has none that could be read. ``id`` is the backend's own, compared where
    it is given: what a ``!let`` names in one run can be named in the next."""

    type: str
    id: Any = None
    content: Any = None
    uri: Any = None
    metadata: dict[str, Any] = Field(default_factory=dict)


class ExpectedTask(_Model):
    """What is expected of one task.

    ``cached`` ``maybe`` is for tasks that are alike and run side by side: whether the one comes in time to
    spare the other is chance, and what they put out is the same. ``takes`` names by input key the artifacts
    that are taken, as ``path.key`` of the task that made them. ``log`` holds lines, whole and in order,
    with anything between them unless ``log_is_whole``; what the backend itself adds does not count then.
    """

    state: RuntimeState = RuntimeState.SUCCEEDED
    why: Why
    cached: bool | Literal["maybe"] = False
    kind: Literal["container", "dag", "importer"] = "container"
    iterations: int | None = None
    inputs: dict[str, Any] | None = None
    outputs: dict[str, Any] = Field(default_factory=dict)
    artifacts: dict[str, ExpectedArtifact | list[ExpectedArtifact]] = Field(default_factory=dict)
    takes: dict[str, Any] | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    blobs: dict[str, dict[str, Any]] = Field(default_factory=dict)
    log: list[Any] = Field(default_factory=list)
    log_is_whole: bool = False
    error: Any = None


Tasks = dict[str, ExpectedTask]


class World(_Model):
    """One of several outcomes that are all right; what it does not say is as the run says.

    ``where`` ``+jq`` is a world in which the program jq is on this machine, ``-jq`` one in which it is not.
    """

    name: str
    why: Why
    where: str | None = Field(default=None, pattern=r"[+-]\w+")
    state: RuntimeState | None = None
    outputs: dict[str, Any] | None = None
    tasks: Tasks = Field(default_factory=dict)


class ExpectedRun(_Model):
    """What is expected of one run. Runs of one file are made one after the other.

    ``files`` are texts of files that components are to leave in the run's scratch folder, which arguments
    name as ``{scratch}``; ``{flights}`` is the folder of the sample flights.
    """

    state: RuntimeState = RuntimeState.SUCCEEDED
    why: Why
    arguments: dict[str, Any] = Field(default_factory=dict)
    outputs: dict[str, Any] = Field(default_factory=dict)
    error: Any = None
    files: dict[str, Any] = Field(default_factory=dict)
    tasks: Tasks = Field(default_factory=dict)
    worlds: list[World] = Field(default_factory=list)

    def outcomes(self) -> list[ExpectedRun]:
        """The runs that would be right: itself, or one for each of its worlds."""
        if not self.worlds:
            return [self]
        return [
            self.model_copy(
                update={
                    "worlds": [],
                    "state": world.state or self.state,
                    "outputs": self.outputs if world.outputs is None else world.outputs,
                    "tasks": {**self.tasks, **world.tasks},
                }
            )
            for world in self.worlds
            if world.where is None or (shutil.which(world.where[1:]) is not None) == (world.where[0] == "+")
        ]

    def each_task(self) -> Iterator[tuple[str, ExpectedTask, dict[str, Any]]]:
        """Every task by its path, ranges spelled out, with what ``!text`` may name."""
        for pattern, task in self.tasks.items():
            yield from ((path, task, known) for path, known in _spelled_out(pattern))


class Expectation(_Model):
    """All that is expected of one pipeline."""

    says: str = Field(min_length=10)
    needs: str | None = None
    runs: list[ExpectedRun] = Field(min_length=1)

    @field_validator("runs")
    @classmethod
    def _paths_are_unique(cls, runs: list[ExpectedRun]) -> list[ExpectedRun]:
        for run in runs:
            for outcome in run.outcomes():
                paths = [path for path, _, _ in outcome.each_task()]
                assert len(set(paths)) == len(paths), "a task is named twice"
        return runs


def names() -> list[str]:
    """Every expectation there is, as ``folder/name``."""
    return sorted(f"{path.parent.name}/{path.stem}" for path in EXPECTATIONS.glob("*/*.yaml"))


def load(name: str) -> Expectation:
    """The expectation of a pipeline; see ``parse``."""
    return parse((EXPECTATIONS / f"{name}.yaml").read_text(encoding="utf-8"))


def parse(text: str) -> Expectation:
    """An expectation from its YAML. Raises ``ValidationError``, or ``YAMLError`` for a key given twice."""
    return Expectation.model_validate(yaml.load(text, _Loader))


def pipeline_file(name: str) -> Path | None:
    """The compiled pipeline, ``None`` where KFP's corpus is not on this machine."""
    folder, _, stem = name.partition("/")
    root = _OURS.get(folder)
    if root is None:
        corpus = corpus_dir()
        if corpus is None:
            return None
        root = corpus / folder
    return root / f"{stem}.yaml"


def _spelled_out(pattern: str) -> Iterator[tuple[str, dict[str, Any]]]:
    found = _RANGE.search(pattern)
    if found is None:
        yield pattern, {}
        return
    for index in range(int(found[1]), int(found[2]) + 1):
        yield f"{pattern[: found.start()]}[{index}]{pattern[found.end() :]}", {"i": index, "n": index + 1}


class _Loader(yaml.SafeLoader):
    """YAML with the tags of ``matching``; a key that is given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        own = [key for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        keys = [self.construct_object(key, deep=True) for key in own]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"given twice: {twice}", node.start_mark)
        return super().construct_mapping(node, deep=True)


def _sequence(loader: yaml.Loader, node: yaml.Node) -> list[Any]:
    assert isinstance(node, yaml.SequenceNode)
    return loader.construct_sequence(node, deep=True)


def _let(loader: yaml.Loader, node: yaml.Node) -> Let:
    assert isinstance(node, yaml.MappingNode)
    ((name, expected),) = loader.construct_mapping(node, deep=True).items()
    return Let(str(name), expected)


_Loader.add_constructor("!matches", lambda loader, node: Matches(loader.construct_scalar(node)))
_Loader.add_constructor("!text", lambda loader, node: Text(loader.construct_scalar(node)))
_Loader.add_constructor("!between", lambda loader, node: Between(*_sequence(loader, node)))
_Loader.add_constructor("!one_of", lambda loader, node: OneOf(_sequence(loader, node)))
_Loader.add_constructor("!let", _let)
_Loader.add_constructor("!known", lambda loader, node: Known(loader.construct_scalar(node)))
_Loader.add_constructor("!other_than", lambda loader, node: OtherThan(loader.construct_scalar(node)))
_Loader.add_constructor("!anything", lambda loader, node: Anything())
