"""Which pipeline a run is asked for: named by its version, by its pipeline alone, or sent along."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from bridge.local import store_pipelines
from bridge.local.requests import RecurringRunMessage, RunMessage
from bridge.local.specs import SpecCache
from bridge.local.status import invalid
from bridge.local.store import Store
from bridge.spec.load import Pipeline


@dataclass(frozen=True, slots=True)
class Source:
    """A pipeline and the text under which it is kept; the ids are empty for one that was sent along."""

    pipeline: Pipeline
    text: str
    pipeline_id: str = ""
    pipeline_version_id: str = ""

    @property
    def inline(self) -> bool:
        """Whether the spec came with the request."""
        return not self.pipeline_version_id


async def find_source(store: Store, specs: SpecCache, message: RunMessage | RecurringRunMessage) -> Source:
    """The pipeline that a request asks for; with a pipeline's id alone its newest version.

    Raises ``StatusError``: 400 for none or two of them and for a spec that is none, 404.
    """
    reference = message.pipeline_version_reference
    pipeline_id = reference.pipeline_id if reference else ""
    version_id = (reference.pipeline_version_id if reference else "") or message.pipeline_version_id
    if bool(pipeline_id or version_id) == bool(message.pipeline_spec):
        raise invalid(
            "Please specify a pipeline either by pipeline_version_reference or by pipeline_spec, not by both"
        )
    if message.pipeline_spec:
        spec = await specs.inline(message.pipeline_spec)
        return Source(spec.pipeline, spec.text)
    return await stored_source(store, specs, pipeline_id, version_id)


async def stored_source(store: Store, specs: SpecCache, pipeline_id: str, version_id: str) -> Source:
    """A version of a pipeline, or its newest one. Raises ``StatusError`` (404; 400: it has none)."""

    def read(connection: sqlite3.Connection) -> tuple[sqlite3.Row, str]:
        row = _version(connection, pipeline_id, version_id)
        return row, store_pipelines.get_spec(connection, row["spec_id"])

    row, text = await store.read(read)
    pipeline = await specs.stored(row["spec_id"], text)
    return Source(pipeline, text, row["pipeline_id"], row["pipeline_version_id"])


def _version(connection: sqlite3.Connection, pipeline_id: str, version_id: str) -> sqlite3.Row:
    if not version_id:
        return store_pipelines.latest_version(connection, pipeline_id)
    if pipeline_id:
        return store_pipelines.get_version(connection, pipeline_id, version_id)
    return store_pipelines.find_version(connection, version_id)
