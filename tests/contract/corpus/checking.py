"""Compares what was seen of a run with what is expected of it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from bridge.domain.states import RuntimeState
from tests.contract.corpus.expectation import ExpectedArtifact, ExpectedRun, ExpectedTask
from tests.contract.corpus.matching import differences
from tests.contract.corpus.observing import SeenArtifact, SeenRun, SeenTask

_BACKENDS_OWN = "[kfbridge] "


def check_run(expected: ExpectedRun, seen: SeenRun, known: dict[str, Any] | None = None) -> list[str]:
    """Every difference, a line each; nothing if the run is as expected. Of several worlds that would be
    right, the differences to the nearest. ``known`` is what earlier runs made known, and is added to."""
    shared = {} if known is None else known
    tried = []
    for outcome in expected.outcomes():
        learned = {**shared, **seen.known}
        tried.append((_check_outcome(outcome, seen, learned), learned))
    found, learned = min(tried, key=lambda one: len(one[0]))
    shared.update(learned)
    return found


def _check_outcome(expected: ExpectedRun, seen: SeenRun, known: dict[str, Any]) -> list[str]:
    found = []
    if seen.state is not expected.state:
        found.append(f"the run is {seen.state}, not {expected.state}: {seen.error}")
    if expected.error is not None:
        found += [f"the run's error: {why}" for why in differences(expected.error, seen.error, known)]
    paths = {path for path, _, _ in expected.each_task()}
    found += [f"{path}: expected and not there" for path in sorted(paths - seen.tasks.keys())]
    found += [
        f"{path}: there as {seen.tasks[path].state} and not expected"
        for path in sorted(seen.tasks.keys() - paths - {""})
    ]
    found += [f"{path}: there more than once" for path in seen.doubles]
    states = Counter(task.state for task in seen.tasks.values())
    if seen.detailed and seen.detailed != states:
        found.append(f"the run's details tell of {dict(seen.detailed)}, its metadata of {dict(states)}")
    for path, task, index in expected.each_task():
        if path in seen.tasks:
            known.update(index)
            found += [f"{path}: {why}" for why in _check_task(path, task, seen, known)]
    root = seen.tasks.get("")
    outputs = root.outputs if root else {}
    found += [f"outputs of the run: {why}" for why in differences(expected.outputs, outputs, known)]
    for name, content in expected.files.items():
        path_ = seen.scratch / name
        text = path_.read_text(encoding="utf-8") if path_.is_file() else None
        found += [f"file {name}: {why}" for why in differences(content, text, known)]
    return found


def _check_task(path: str, expected: ExpectedTask, run: SeenRun, known: dict[str, Any]) -> Iterator[str]:
    seen = run.tasks[path]
    yield from _check_state(expected, seen)
    # What an iteration that is no task took and why it failed nobody tells, nor what no iteration gave.
    is_told = run.has_iterations or expected.kind != "dag" or not path.endswith("]")
    gives = run.has_iterations or expected.iterations != 0
    if seen.kind != expected.kind:
        yield f"a {seen.kind}, not a {expected.kind}"
    if expected.iterations is not None:
        count = sum(f"{path}[{number}]" in run.tasks for number in range(len(run.tasks)))
        if count != expected.iterations:
            yield f"{count} iterations, not {expected.iterations}"
    if expected.inputs is not None and is_told:
        named = {name: value for name, value in seen.inputs.items() if name in expected.inputs}
        yield from (f"inputs: {why}" for why in differences(expected.inputs, named, known))
    if gives:
        yield from (f"outputs: {why}" for why in differences(expected.outputs, seen.outputs, known))
    if expected.kind != "dag" or expected.artifacts:
        yield from _check_artifacts(expected, seen, known)
    if expected.takes is not None:
        taken = {key: [one.origin for one in items] for key, items in seen.takes.items()}
        wanted = {key: one if isinstance(one, list) else [one] for key, one in expected.takes.items()}
        yield from (f"takes: {why}" for why in differences(wanted, taken, known))
    yield from _check_times(seen, run)
    yield from (f"metrics: {why}" for why in differences(expected.metrics, seen.metrics, known))
    yield from (f"blobs: {why}" for why in differences(expected.blobs, seen.blobs, known))
    if expected.log and not (expected.cached == "maybe" and seen.cached):
        yield from _check_log(expected, seen, known)
    if is_told:
        yield from _check_error(expected, seen, known)


def _check_state(expected: ExpectedTask, seen: SeenTask) -> Iterator[str]:
    right = {(expected.state, expected.cached is True)}
    if expected.cached == "maybe":
        right = {(expected.state, False), (RuntimeState.SKIPPED, True)}
    if (seen.state, seen.cached) not in right:
        cached = ", from the cache" if seen.cached else ""
        yield f"{seen.state}{cached}; expected {expected.state}, cached {expected.cached}; {seen.error}"


def _check_error(expected: ExpectedTask, seen: SeenTask, known: dict[str, Any]) -> Iterator[str]:
    if expected.error is not None:
        yield from (f"error: {why}" for why in differences(expected.error, seen.error, known))
    elif expected.state is RuntimeState.FAILED and not seen.error:
        yield "failed without saying why"


def _check_times(seen: SeenTask, run: SeenRun) -> Iterator[str]:
    if seen.state is RuntimeState.SKIPPED:
        return
    if seen.started_at is None or seen.finished_at is None:
        yield f"started at {seen.started_at}, finished at {seen.finished_at}"
        return
    if seen.finished_at < seen.started_at:
        yield f"finished at {seen.finished_at}, before its start at {seen.started_at}"
    for artifact in (one for items in seen.takes.values() for one in items):
        maker = run.tasks.get(artifact.origin.rpartition(".")[0])
        if maker and maker.finished_at and not maker.cached and maker.finished_at > seen.started_at:
            yield f"started at {seen.started_at}, before {maker.path} ended at {maker.finished_at}"


def _check_artifacts(expected: ExpectedTask, seen: SeenTask, known: dict[str, Any]) -> Iterator[str]:
    for key in sorted(expected.artifacts.keys() - seen.artifacts.keys()):
        yield f"the artifact {key} is missing"
    for key in sorted(seen.artifacts.keys() - expected.artifacts.keys()):
        yield f"the artifact {key} is not expected"
    for key in expected.artifacts.keys() & seen.artifacts.keys():
        wanted = expected.artifacts[key]
        several = wanted if isinstance(wanted, list) else [wanted]
        found = seen.artifacts[key]
        if len(several) != len(found):
            yield f"{len(found)} artifacts {key} instead of {len(several)}"
            continue
        for one, other in zip(several, found, strict=True):
            yield from (f"artifact {key}: {why}" for why in _check_artifact(one, other, known))


def _check_artifact(expected: ExpectedArtifact, seen: SeenArtifact, known: dict[str, Any]) -> Iterator[str]:
    yield from (f"type: {why}" for why in differences(expected.type, seen.type, known))
    yield from (f"content: {why}" for why in differences(expected.content, seen.content, known))
    yield from (f"metadata: {why}" for why in differences(expected.metadata, seen.metadata, known))
    if expected.id is not None:
        yield from (f"id: {why}" for why in differences(expected.id, seen.id, known))
    if expected.uri is not None:
        yield from (f"uri: {why}" for why in differences(expected.uri, seen.uri, known))


def _check_log(expected: ExpectedTask, seen: SeenTask, known: dict[str, Any]) -> Iterator[str]:
    if seen.log is None:
        yield "has no log"
        return
    if expected.log_is_whole:
        own = [line for line in seen.log if not line.startswith(_BACKENDS_OWN)]
        yield from (f"log: {why}" for why in differences(expected.log, own, known))
        return
    rest = list(seen.log)
    for line in expected.log:
        place = next((n for n, told in enumerate(rest) if not any(differences(line, told, known))), None)
        if place is None:
            yield f"the log lacks {line!r} (in this place); it is: {' | '.join(seen.log)[:600]}"
            return
        del rest[: place + 1]
