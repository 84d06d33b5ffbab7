"""Compiled pipelines by digest and name, and what is remembered of backends."""

from __future__ import annotations

from datetime import timedelta

import pytest

from bridge.lineage.backends import all_backend_states, backend_state, change_backend_state
from bridge.lineage.database import Database
from bridge.lineage.errors import CursorError
from bridge.lineage.records import BackendState, BackendVersion
from bridge.lineage.specs import (
    find_pipeline,
    find_version,
    forget_version,
    get_spec,
    has_spec,
    list_pipelines,
    remember_version,
    store_spec,
)
from tests.support.lineage_samples import T0


def test_specs_are_kept_by_digest_and_found_by_name(database: Database) -> None:
    def store(session):  # type: ignore[no-untyped-def]
        store_spec(session, "p", "train", "d1", "text one", at=T0)
        store_spec(session, "p", "train", "d2", "text two", at=T0 + timedelta(days=1), version_name="v2")
        store_spec(session, "p", "train", "d1", "text one", at=T0 + timedelta(days=2), version_name="v1")
        store_spec(session, "q", "train", "d1", "text one", at=T0)

    database.transact(store)

    def found(*args):  # type: ignore[no-untyped-def]
        spec = database.read(lambda session: find_pipeline(session, *args))
        return spec and (spec.project, spec.digest, spec.text)

    assert found("p", "train") == ("p", "d2", "text two")
    assert found("p", "train", "v1") == ("p", "d1", "text one")
    assert found("q", "train") == ("q", "d1", "text one")
    assert found("p", "train", "v3") is None
    spec = database.read(lambda session: get_spec(session, "p", "d1"))
    assert spec is not None
    assert (spec.text, spec.created_at) == ("text one", T0)
    assert database.read(lambda session: has_spec(session, "p", "d2"))
    assert not database.read(lambda session: has_spec(session, "q", "d2"))
    (one,), more = database.read(lambda session: list_pipelines(session, ("p",)))
    assert (one.name, one.digest, one.versions, more) == ("train", "d2", 2, None)


def test_pipelines_are_listed_page_by_page(database: Database) -> None:
    names = [f"pipeline {number:02}" for number in range(7)]

    def store(session):  # type: ignore[no-untyped-def]
        for name in reversed(names):
            store_spec(session, "p", name, f"digest of {name}", "text", at=T0)

    database.transact(store)
    walked, cursor = [], None
    while True:
        page, cursor = database.read(
            lambda session, cursor=cursor: list_pipelines(session, cursor=cursor, limit=3)
        )
        walked += [one.name for one in page]
        if cursor is None:
            break
    assert walked == names
    with pytest.raises(CursorError):
        database.read(lambda session: list_pipelines(session, cursor="x"))


def test_uploads_are_remembered_per_backend_and_namespace(database: Database) -> None:
    version = BackendVersion(
        backend="prod",
        namespace="",
        digest="d1",
        pipeline_id="1",
        version_id="2",
        pipeline_name="train",
        version_name="v",
    )
    newer = BackendVersion(
        **({name: getattr(version, name) for name in version.__slots__} | {"version_id": "3"})
    )
    database.transact(lambda session: remember_version(session, version))
    database.transact(lambda session: remember_version(session, newer))
    assert database.read(lambda session: find_version(session, "prod", "", "d1")) == newer
    assert database.read(lambda session: find_version(session, "prod", "team", "d1")) is None
    database.transact(lambda session: forget_version(session, "prod", "", "d1"))
    assert database.read(lambda session: find_version(session, "prod", "", "d1")) is None


def test_a_backends_state_keeps_what_is_not_told_anew(database: Database) -> None:
    assert database.read(lambda session: backend_state(session, "prod")) == BackendState(backend="prod")
    database.transact(
        lambda session: change_backend_state(session, "prod", watermark=T0, metadata_watermark_ms=2**41)
    )
    database.transact(
        lambda session: change_backend_state(session, "prod", stale_since=T0, last_error="refused")
    )
    database.transact(
        lambda session: change_backend_state(session, "prod", stale_since=None, facts={"v": "2.5"})
    )
    database.transact(lambda session: change_backend_state(session, "prod", "team"))
    expected = BackendState(
        backend="prod",
        watermark=T0,
        metadata_watermark_ms=2**41,
        last_error="refused",
        facts={"v": "2.5"},
    )
    assert database.read(all_backend_states) == [expected, BackendState(backend="prod", namespace="team")]
