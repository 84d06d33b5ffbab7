"""Where the parameters of a task come from, in the words of KFP's native API: read from its pipeline."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Container, Mapping
from functools import lru_cache

from bridge.spec.load import SpecError, load_pipeline
from bridge.spec.model import Component, Constant, Dag, FromInput, FromTask, PipelineModel, Task

_ITERATION = re.compile(r"\[\d+\]")
_KEPT = 16

# The kind of an input (v2beta1.IOType) and the name of the task that gives it, if one does.
Source = tuple[str, str | None]
FROM_PARENT: Source = ("COMPONENT_INPUT", None)
_GIVEN: Source = ("RUNTIME_VALUE_INPUT", None)
_DEFAULT: Source = ("COMPONENT_DEFAULT_INPUT", None)


class Sources:
    """Answers for the tasks of one run."""

    def __init__(self, model: PipelineModel | None, arguments: Container[str]) -> None:
        self._model = model
        self._arguments = arguments

    def of(self, path: str) -> Mapping[str, Source]:
        """Where each parameter of the task with this path comes from; empty if the pipeline does not tell."""
        if self._model is None:
            return {}
        if not path:
            return {
                name: _GIVEN if name in self._arguments else _DEFAULT for name in self._model.root.parameters
            }
        found = _find(self._model, _ITERATION.sub("", path).split("."))
        if found is None:
            return {}
        dag, task, component = found
        return {name: _source(dag, task, name) for name in component.parameters}


def sources_of_run(connection: sqlite3.Connection, run_id: str) -> Sources:
    """Those of a run that is kept."""
    row = connection.execute(
        "SELECT runs.parameters, specs.text FROM runs JOIN specs ON specs.spec_id = runs.spec_id "
        "WHERE run_id = ?",
        (run_id,),
    ).fetchone()
    return Sources(None, ()) if row is None else Sources(_model(row["text"]), json.loads(row["parameters"]))


@lru_cache(maxsize=_KEPT)
def _model(text: str) -> PipelineModel | None:
    try:
        return load_pipeline(text.encode()).model
    except SpecError:
        # An older version took it; its tasks are shown all the same.
        return None


def _find(model: PipelineModel, names: list[str]) -> tuple[Dag, Task, Component] | None:
    component: Component | None = model.root
    found: tuple[Dag, Task, Component] | None = None
    for name in names:
        dag = component.dag if component is not None else None
        task = dag.tasks.get(name) if dag is not None else None
        component = model.components.get(task.component) if task is not None else None
        if dag is None or task is None or component is None:
            return None
        found = dag, task, component
    return found


def _source(dag: Dag, task: Task, name: str) -> Source:
    if task.iterator is not None and task.iterator.item_input == name:
        return "ITERATOR_INPUT" if task.iterator.raw is None else "ITERATOR_INPUT_RAW", None
    item = task.parameters.get(name)
    if item is None:
        return _DEFAULT
    source = item.source
    if isinstance(source, Constant):
        return _GIVEN
    if isinstance(source, FromInput):
        return FROM_PARENT
    if isinstance(source, FromTask):
        giver = dag.tasks.get(source.task)
        gathered = giver is not None and giver.iterator is not None
        return "COLLECTED_INPUTS" if gathered else "TASK_OUTPUT_INPUT", source.task
    return "TASK_FINAL_STATUS_OUTPUT", source.task
