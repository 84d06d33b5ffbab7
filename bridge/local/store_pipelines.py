"""Pipelines, their versions and the specs these share, in the database."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from bridge.local.clock import now_seconds
from bridge.local.status import conflict, invalid, not_found
from bridge.local.store_listing import Listable

PIPELINES = Listable(
    table="pipelines",
    key="pipeline_id",
    fields={
        "id": "pipeline_id",
        "pipeline_id": "pipeline_id",
        "name": "name",
        "display_name": "display_name",
        "description": "description",
        "namespace": "namespace",
        "created_at": "created_at",
    },
)
VERSIONS = Listable(
    table="pipeline_versions",
    key="pipeline_version_id",
    fields={
        "id": "pipeline_version_id",
        "pipeline_version_id": "pipeline_version_id",
        "pipeline_id": "pipeline_id",
        "name": "name",
        "display_name": "display_name",
        "description": "description",
        "created_at": "created_at",
    },
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a caller may say of a pipeline or a version."""

    name: str
    display_name: str = ""
    description: str = ""
    namespace: str = ""
    code_source_url: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


def spec_id_of(text: str) -> str:
    """Under which id a spec's text is kept."""
    return hashlib.sha256(text.encode()).hexdigest()


def store_spec(connection: sqlite3.Connection, text: str) -> str:
    """Keep a spec once; returns its id."""
    spec_id = spec_id_of(text)
    connection.execute("INSERT OR IGNORE INTO specs (spec_id, text) VALUES (?, ?)", (spec_id, text))
    return spec_id


def get_spec(connection: sqlite3.Connection, spec_id: str) -> str:
    """The text of a spec that a version or run refers to."""
    return str(connection.execute("SELECT text FROM specs WHERE spec_id = ?", (spec_id,)).fetchone()[0])


def spec_document(connection: sqlite3.Connection, spec_id: str) -> dict[str, Any]:
    """A spec as the API shows it."""
    document: dict[str, Any] = json.loads(get_spec(connection, spec_id))
    return document


def add_pipeline(connection: sqlite3.Connection, named: Named) -> sqlite3.Row:
    """A new pipeline without versions. Raises ``StatusError`` (409) if the name is taken."""
    try:
        row: sqlite3.Row = connection.execute(
            "INSERT INTO pipelines (pipeline_id, name, display_name, description, namespace, created_at, "
            "tags) VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (
                str(uuid4()),
                named.name,
                named.display_name or named.name,
                named.description,
                named.namespace,
                now_seconds(),
                json.dumps(dict(named.tags)),
            ),
        ).fetchone()
    except sqlite3.IntegrityError as error:
        raise conflict(
            f"Failed to create a new pipeline. The name {named.name} already exists. "
            "Please specify a new name"
        ) from error
    return row


def add_version(
    connection: sqlite3.Connection, pipeline_id: str, named: Named, spec_text: str
) -> sqlite3.Row:
    """A new version of a pipeline. Raises ``StatusError``: 404 no such pipeline, 409 the name is taken."""
    get_pipeline(connection, pipeline_id)
    try:
        row: sqlite3.Row = connection.execute(
            "INSERT INTO pipeline_versions (pipeline_version_id, pipeline_id, name, display_name, "
            "description, code_source_url, spec_id, created_at, tags) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING *",
            (
                str(uuid4()),
                pipeline_id,
                named.name,
                named.display_name or named.name,
                named.description,
                named.code_source_url,
                store_spec(connection, spec_text),
                now_seconds(),
                json.dumps(dict(named.tags)),
            ),
        ).fetchone()
    except sqlite3.IntegrityError as error:
        raise conflict(
            f"Failed to create a new pipeline version. The name {named.name} already exists. "
            "Please specify a new name"
        ) from error
    return row


def get_pipeline(connection: sqlite3.Connection, pipeline_id: str) -> sqlite3.Row:
    """The pipeline with this id. Raises ``StatusError`` (404)."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM pipelines WHERE pipeline_id = ?", (pipeline_id,)
    ).fetchone()
    if row is None:
        raise not_found("Pipeline", pipeline_id)
    return row


def get_pipeline_by_name(connection: sqlite3.Connection, name: str) -> sqlite3.Row:
    """The pipeline with this name. Raises ``StatusError`` (404)."""
    row: sqlite3.Row | None = connection.execute("SELECT * FROM pipelines WHERE name = ?", (name,)).fetchone()
    if row is None:
        raise not_found("Pipeline", name)
    return row


def get_version(connection: sqlite3.Connection, pipeline_id: str, version_id: str) -> sqlite3.Row:
    """A version of a pipeline. Raises ``StatusError`` (404), also if it belongs to another pipeline."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM pipeline_versions WHERE pipeline_version_id = ? AND pipeline_id = ?",
        (version_id, pipeline_id),
    ).fetchone()
    if row is None:
        raise not_found("PipelineVersion", version_id)
    return row


def latest_version(connection: sqlite3.Connection, pipeline_id: str) -> sqlite3.Row:
    """The newest version of a pipeline. Raises ``StatusError``: 404 no pipeline, 400 it has no version."""
    get_pipeline(connection, pipeline_id)
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM pipeline_versions WHERE pipeline_id = ? ORDER BY created_at DESC, rowid DESC LIMIT 1",
        (pipeline_id,),
    ).fetchone()
    if row is None:
        raise invalid(f"Pipeline {pipeline_id} has no version: upload one first")
    return row


def find_version(connection: sqlite3.Connection, version_id: str) -> sqlite3.Row:
    """A version by its id alone. Raises ``StatusError`` (404)."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM pipeline_versions WHERE pipeline_version_id = ?", (version_id,)
    ).fetchone()
    if row is None:
        raise not_found("PipelineVersion", version_id)
    return row


def update_named(
    connection: sqlite3.Connection, listable: Listable, key: str, changes: Mapping[str, Any]
) -> None:
    """Change the display name or the tags of a pipeline or version that exists; KFP lets nothing else be
    changed and passes over it."""
    allowed = {name: value for name, value in changes.items() if name in ("display_name", "tags")}
    if not allowed:
        return
    columns = ", ".join(f"{name} = ?" for name in allowed)
    values = [json.dumps(value) if name == "tags" else value for name, value in allowed.items()]
    connection.execute(
        f"UPDATE {listable.table} SET {columns} WHERE {listable.key} = ?",  # noqa: S608
        (*values, key),
    )


def delete_pipeline(connection: sqlite3.Connection, pipeline_id: str, *, cascade: bool) -> None:
    """Delete a pipeline. Raises ``StatusError``: 404; 400 if it has versions and ``cascade`` is not set."""
    get_pipeline(connection, pipeline_id)
    count = connection.execute(
        "SELECT COUNT(*) FROM pipeline_versions WHERE pipeline_id = ?", (pipeline_id,)
    ).fetchone()[0]
    if count and not cascade:
        raise invalid(
            f"Failed to delete pipeline {pipeline_id} as it still has {count} version(s): "
            "delete them first or ask with cascade=true"
        )
    connection.execute("DELETE FROM pipelines WHERE pipeline_id = ?", (pipeline_id,))


def delete_version(connection: sqlite3.Connection, pipeline_id: str, version_id: str) -> None:
    """Delete a version; runs made from it keep its spec. Raises ``StatusError`` (404)."""
    get_version(connection, pipeline_id, version_id)
    connection.execute("DELETE FROM pipeline_versions WHERE pipeline_version_id = ?", (version_id,))
