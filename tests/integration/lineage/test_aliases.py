"""Aliases of pipeline versions on both databases: one meaning at a time, every move audited."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select
from sqlmodel import Session

from bridge.lineage.aliases import find_alias, list_aliases, remove_alias, set_alias
from bridge.lineage.database import Database
from bridge.lineage.errors import NotStored
from bridge.lineage.specs import find_pipeline, store_spec, store_text
from bridge.lineage.tables import AUDIT
from tests.support.lineage_samples import T0

OLD, NEW = "a" * 64, "b" * 64


@pytest.fixture
def versions(database: Database) -> Database:
    def write(session: Session) -> None:
        store_spec(session, "default", "train", OLD, "old", at=T0, version_name="v1")
        store_spec(session, "default", "train", NEW, "new", at=T0)

    database.transact(write)
    return database


def moves(database: Database) -> list[tuple[str | None, str | None]]:
    statement = select(AUDIT.c.data).where(AUDIT.c.action == "pipeline.alias").order_by(AUDIT.c.id)
    return [(row["from"], row["to"]) for row in database.read(lambda s: s.scalars(statement).all())]


def test_an_alias_means_what_it_was_set_to_last_and_each_move_is_audited(versions: Database) -> None:
    first = versions.transact(lambda s: set_alias(s, "default", "train", "prod", OLD))
    assert (first[0].digest, first[0].version_name, first[1]) == (OLD, "v1", None)
    second = versions.transact(lambda s: set_alias(s, "default", "train", "prod", NEW))
    assert (second[0].digest, second[0].version_name, second[1]) == (NEW, None, OLD)
    versions.transact(lambda s: set_alias(s, "default", "train", "prod", NEW))
    assert moves(versions) == [(None, OLD), (OLD, NEW)]
    assert versions.transact(lambda s: remove_alias(s, "default", "train", "prod"))
    assert not versions.transact(lambda s: remove_alias(s, "default", "train", "prod"))
    assert moves(versions)[2:] == [(NEW, None)]
    assert versions.read(lambda s: find_alias(s, "default", "train", "prod")) is None


def test_an_alias_belongs_to_one_project_and_pipeline(versions: Database) -> None:
    versions.transact(lambda s: set_alias(s, "default", "train", "prod", OLD))
    with pytest.raises(NotStored):
        versions.transact(lambda s: set_alias(s, "other", "train", "prod", OLD))
    with pytest.raises(NotStored):
        versions.transact(lambda s: set_alias(s, "default", "train", "prod", "c" * 64))
    assert versions.read(lambda s: list_aliases(s, "other", "train")) == []
    assert [one.alias for one in versions.read(lambda s: list_aliases(s, "default", "train"))] == ["prod"]


def test_movers_at_once_leave_one_meaning_and_an_unbroken_audit(versions: Database) -> None:
    digests = [OLD, NEW] * 4
    with ThreadPoolExecutor(4) as pool:
        moving = [
            pool.submit(versions.transact, lambda s, d=digest: set_alias(s, "default", "train", "prod", d))
            for digest in digests
        ]
        for one in moving:
            one.result(timeout=60)
    stored = versions.read(lambda s: find_alias(s, "default", "train", "prod"))
    assert stored is not None
    trail = moves(versions)
    assert [None, *(to for _, to in trail)] == [*(before for before, _ in trail), stored.digest]


def test_what_caching_made_of_a_version_is_no_version(versions: Database) -> None:
    versions.transact(lambda s: store_text(s, "default", "train", "c" * 64, "cached", at=T0))
    newest = versions.read(lambda s: find_pipeline(s, "default", "train"))
    assert newest is not None
    assert newest.digest == NEW
