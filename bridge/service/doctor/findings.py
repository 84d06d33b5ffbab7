"""What a check found: ok, a warning or an error; what that means, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "error"]

# What it means for the bridge when a check does not find what it should, by the check's name.
MEANINGS: Mapping[str, str] = {
    "settings": "neither service nor workers would start",
    "database.place": "the history has no place to be kept",
    "database.reachable": "nothing can be accepted, answered or followed",
    "database.schema": "the service would refuse to start on it",
    "database.version": "queries and migrations are not tested with it",
    "database.network-file-system": "SQLite's locks do not hold there; the database can be destroyed",
    "database.disk-space": "when the disk is full nothing is accepted any more, reading goes on",
    "database.holders": "a SQLite database serves one process; the next one waits for it and then gives up",
    "database.clock": "times that people read in logs and in the history do not match",
    "database.set-aside": "this work is not done until somebody releases it",
    "backend.configured": "nothing can be sent anywhere",
    "backend.token": "the backend will refuse every request, so runs wait",
    "backend.certificates": "no connection to the backend can be trusted, so runs wait",
    "backend.reachable": "runs are accepted and wait in the queue; those under way are shown as stale",
    "backend.answers-as-kfp": "another server stands at this address; runs are accepted and wait",
    "backend.credentials": "the backend refuses the bridge; runs are accepted and wait",
    "backend.namespace": "runs of this namespace can neither be sent nor followed",
    "backend.multi-user": "KFP refuses lists without a namespace, and ignores namespaces in single-user mode",
    "backend.version": "the wire may differ from what the bridge was tested with",
    "backend.metadata": "runs are followed, but have no tasks, artifacts or metrics",
    "backend.clock": "ends may be seen late, and fresh tokens be refused",
    "kubernetes.reachable": "ends are seen a sweep later, and causes of failures stay vague",
    "kubernetes.rights": "the watch is off, or causes of failures lack what cannot be read",
    "content.roots": "files of artifacts in this folder cannot be shown",
    "content.stores": "objects of artifacts in this store cannot be shown",
    "access.token": "whoever guesses the token may submit and cancel runs",
    "access.open": "everybody who can reach the address may do everything",
    "access.links": "links in answers, messages and Airflow lead where browsers cannot go",
    "versions.python": "the bridge is not tested with it",
    "versions.packages": "what the settings ask for cannot be done",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one thing. ``found`` is what was seen; ``to_do`` is there if ``level`` is not ``ok``."""

    check: str
    subject: str
    level: Level
    found: str
    to_do: str | None = None

    @property
    def meaning(self) -> str | None:
        """What the trouble means for the bridge; ``None`` if there is none."""
        return None if self.level == "ok" else MEANINGS[self.check]

    def to_json(self) -> dict[str, Any]:
        """The finding as ``--json`` shows it."""
        return {**asdict(self), "meaning": self.meaning}


def ok(check: str, subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, subject, "ok", found)


def warning(check: str, subject: str, found: str, to_do: str) -> Finding:
    """It works, and somebody should look at it."""
    return Finding(check, subject, "warning", found, to_do)


def error(check: str, subject: str, found: str, to_do: str) -> Finding:
    """It does not work."""
    return Finding(check, subject, "error", found, to_do)


def count(findings: Iterable[Finding], level: Level) -> int:
    """How many of them have that level."""
    return sum(finding.level == level for finding in findings)
