"""Whether a submission asks for what the last good run has done already. Pure."""

from __future__ import annotations

from bridge.domain.identity import canonical_json
from bridge.domain.lineage import InputVersion, Run, Submission


def what_changed(wanted: Submission, last: Run, asked: Submission | None) -> tuple[str, ...]:
    """What a submission wants otherwise than a good run had it; empty if nothing at all.

    ``asked`` is the submission that the run was made for. The backend, namespace and gate count too: what
    is elsewhere, or was judged by another rule, is no answer. A version that is unknown, on either
    side, is never the same.
    """
    if asked is None:
        return ("origin",)
    then = {
        "backend": (last.backend, last.namespace or ""),
        "spec": last.pipeline.digest,
        "arguments": canonical_json(dict(asked.arguments)),
        "inputs": _versions(asked.inputs),
        "gate": asked.gate,
    }
    now = {
        "backend": (wanted.backend, wanted.namespace or ""),
        "spec": wanted.pipeline.digest,
        "arguments": canonical_json(dict(wanted.arguments)),
        "inputs": _versions(wanted.inputs),
        "gate": wanted.gate,
    }
    changed = [name for name, value in now.items() if value != then[name]]
    if "inputs" not in changed and unknown_versions(wanted.inputs):
        changed.append("inputs")
    return tuple(changed)


def unknown_versions(inputs: tuple[InputVersion, ...]) -> tuple[str, ...]:
    """The URIs of the inputs whose version is unknown."""
    return tuple(item.uri for item in inputs if item.version is None)


def _versions(inputs: tuple[InputVersion, ...]) -> list[tuple[str, str, str, str]]:
    """In an order of their own: whether the order of a list counts is the arguments' to say."""
    return sorted((item.name, item.uri, item.version_kind or "", item.version or "") for item in inputs)
