"""Migrations only ever add: the version that is running while one is applied does not notice."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations, ops
from alembic.script import Script, ScriptDirectory

from bridge.lineage.schema import migration_config

SCRIPTS = list(ScriptDirectory.from_config(migration_config()).walk_revisions())
UPDATE = re.compile(r"\s*UPDATE (\w+) SET (.*?)(?: WHERE .*)?$", re.IGNORECASE | re.DOTALL)
# What stands beside the tables that the older program knows: its own writes keep it, and never fail by it.
BESIDE = re.compile(r"\s*CREATE (?:TABLE|VIRTUAL TABLE|INDEX|FUNCTION|TRIGGER) (\w+)", re.IGNORECASE)
COPY = re.compile(r"\s*INSERT INTO (\w+) .* ON CONFLICT .* DO NOTHING\s*$", re.IGNORECASE | re.DOTALL)
# What a planner expects; no statement gives another answer by it.
EXPECTED = re.compile(
    r"\s*(?:ANALYZE sqlite_schema|(?:DELETE FROM|INSERT INTO) sqlite_stat1) ?", re.IGNORECASE
)
VIEW = re.compile(r"\s*(CREATE|CREATE OR REPLACE|DROP) VIEW (?:IF EXISTS )?(\w+)", re.IGNORECASE)


def operations_of(script: Script, dialect: str) -> list[Any]:
    """What a migration does on that database; nothing of it is carried out."""
    seen: list[Any] = []

    def batch_alter_table(table_name: str, **options: Any) -> Any:
        raise AssertionError(f"batch_alter_table copies {table_name} under a version that writes to it")

    operations: Any = Operations(MigrationContext.configure(dialect_name=dialect, opts={"as_sql": True}))
    operations.invoke = seen.append
    bind = SimpleNamespace(dialect=SimpleNamespace(name=dialect), exec_driver_sql=operations.execute)
    operations.get_bind = lambda: bind
    operations.batch_alter_table = batch_alter_table
    operations._install_proxy()
    try:
        script.module.upgrade()
    finally:
        operations._remove_proxy()
    return seen


def filled_by(statement: str) -> set[tuple[str, str]]:
    """The tables and columns that an UPDATE sets; none for any other statement."""
    bare = re.sub(r"'[^']*'", "", statement)
    while (shorter := re.sub(r"\([^()]*\)", "", bare)) != bare:
        bare = shorter
    found = UPDATE.match(bare)
    return set() if found is None else {(found[1], name) for name in re.findall(r"(\w+)\s*=", found[2])}


def objections(operations: list[Any]) -> list[str]:
    """Which operations an older program would notice."""
    made = {one.table_name for one in operations if isinstance(one, ops.CreateTableOp)}
    added = {(one.table_name, one.column.name) for one in operations if isinstance(one, ops.AddColumnOp)}
    found, views = [], {"CREATE": set[str](), "DROP": set[str]()}
    for one in operations:
        match one:
            case ops.CreateTableOp():
                pass
            case ops.AddColumnOp(column=column):
                if not column.nullable and column.server_default is None:
                    found.append(f"{one.table_name}.{column.name}: NOT NULL without a server default")
            case ops.DropIndexOp():
                # Slower at most; the migration that drops one has another that holds the same.
                pass
            case ops.CreateIndexOp():
                if one.unique and one.table_name not in made:
                    found.append(f"{one.index_name}: unique, on a table that older programs write to")
            case ops.ExecuteSQLOp():
                view = VIEW.match(str(one.sqltext))
                copy, filled = COPY.match(str(one.sqltext)), filled_by(str(one.sqltext))
                # What is filled in a column that the older program does not know, it does not notice.
                if BESIDE.match(str(one.sqltext)) or (filled and filled <= added):
                    continue
                if (copy is not None and copy[1] in made) or EXPECTED.match(str(one.sqltext)):
                    continue
                if view is None:
                    found.append(f"a statement that is no view: {str(one.sqltext)[:60]}")
                else:
                    views[view[1].upper().partition(" ")[0]].add(view[2])
            case _:
                found.append(type(one).__name__)
    found += [f"the view {name} is dropped for good" for name in views["DROP"] - views["CREATE"]]
    return found


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
@pytest.mark.parametrize("script", SCRIPTS, ids=[script.revision for script in SCRIPTS])
def test_25_a_migration_only_adds(script: Script, dialect: str) -> None:
    assert operations_of(script, "sqlite")
    assert objections(operations_of(script, dialect)) == []


def test_25_there_is_one_newest_migration() -> None:
    assert len(ScriptDirectory.from_config(migration_config()).get_heads()) == 1


@pytest.mark.parametrize(
    ("operation", "objection"),
    [
        (ops.DropColumnOp("runs", "state"), "DropColumnOp"),
        (ops.DropTableOp("runs"), "DropTableOp"),
        (ops.RenameTableOp("runs", "other"), "RenameTableOp"),
        (ops.AlterColumnOp("runs", "state", modify_nullable=False), "AlterColumnOp"),
        (ops.AddColumnOp("runs", sa.Column("new", sa.Text(), nullable=False)), "NOT NULL"),
        (ops.CreateIndexOp("ix", "runs", ["state"], unique=True), "unique"),
        (ops.ExecuteSQLOp("UPDATE runs SET state = ''"), "no view"),
        (ops.ExecuteSQLOp("DROP VIEW kfbridge_runs"), "dropped for good"),
    ],
)
def test_25_what_an_older_program_would_notice_is_objected_to(operation: Any, objection: str) -> None:
    assert objection in "".join(objections([operation]))


def test_25_what_an_update_sets_is_known() -> None:
    assert filled_by("UPDATE runs SET a = f('x = 1', b), c = 2 WHERE d = 3") == {("runs", "a"), ("runs", "c")}
    assert filled_by("DELETE FROM runs") == set()
