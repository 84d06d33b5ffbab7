"""What a later try asks for otherwise than the run that answers it was started with."""

from __future__ import annotations

from bridge.domain.identity import canonical_json
from bridge.domain.lineage import InputVersion, Submission


def changed_work(earlier: Submission, later: Submission) -> tuple[str, ...]:
    """What differs of ``pipeline``, ``arguments`` and ``inputs``; how a run is labeled, retried or judged
    does not count, nor an input's version that only one of the two knows."""
    pairs = {
        "pipeline": earlier.pipeline.digest != later.pipeline.digest,
        "arguments": canonical_json(dict(earlier.arguments)) != canonical_json(dict(later.arguments)),
        "inputs": not _same_inputs(earlier.inputs, later.inputs),
    }
    return tuple(name for name, differs in pairs.items() if differs)


def _same_inputs(earlier: tuple[InputVersion, ...], later: tuple[InputVersion, ...]) -> bool:
    if len(earlier) != len(later):
        return False
    pairs = zip(sorted(earlier, key=_place), sorted(later, key=_place), strict=True)
    return all(_place(one) == _place(other) and _same_version(one, other) for one, other in pairs)


def _place(item: InputVersion) -> tuple[str, str]:
    return item.name, item.uri


def _same_version(one: InputVersion, other: InputVersion) -> bool:
    return one.version is None or other.version is None or one.version == other.version
