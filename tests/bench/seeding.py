"""Fills a lineage database with a made-up history: ``python -m tests.bench.seeding --database-url URL``.

A million runs with ten metrics each take minutes: PostgreSQL gets them by COPY, SQLite by ``executemany``
in large transactions, both before their indexes are made. Memory stays bounded, the seed makes it the
same history every time.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from bridge.lineage.database import Database
from tests.bench.seeding_rows import COLUMNS, History, Row, Rows

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_RUNS_BETWEEN_WORDS = 100_000


def seed(database_url: str, history: History) -> float:
    """Migrate the database, which must be empty, and fill it; how many seconds that took."""
    database = Database(database_url)
    database.migrate()
    database.close()
    began = time.perf_counter()
    if database.dialect == "sqlite":
        _fill_sqlite(str(make_url(database_url).database), history)
    else:
        _fill_postgresql(database_url, history)
    return time.perf_counter() - began


def _told(rows: Iterable[Rows], history: History) -> Iterable[Rows]:
    done = 0
    for piece in rows:
        done += len(piece["runs"])
        yield piece
        if done % _RUNS_BETWEEN_WORDS == 0:
            print(f"    {done:,} of {history.runs:,} runs", file=sys.stderr, flush=True)


def _fill_sqlite(path: str, history: History) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    # A database that breaks while it is filled is thrown away.
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -500000", "temp_store = FILE"):
        connection.execute(f"PRAGMA {pragma}")
    made = connection.execute(
        "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        " AND (type = 'index' OR type = 'trigger') ORDER BY name"
    ).fetchall()
    # What a migration says of an index goes with the index.
    statistics = connection.execute("SELECT tbl, idx, stat FROM sqlite_stat1").fetchall()
    for kind, name, _ in made:
        connection.execute(f"DROP {kind} {name}")
    for rows in _all(history):
        connection.execute("BEGIN")
        for table, found in rows.items():
            if found:
                connection.executemany(_insert(table), found)
        connection.execute("COMMIT")
    print("    indexes", file=sys.stderr, flush=True)
    for _, _, statement in made:
        connection.execute(statement)
    connection.execute("DELETE FROM sqlite_stat1")
    connection.executemany("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", statistics)
    connection.execute("INSERT INTO run_words (run_words) VALUES ('rebuild')")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def _insert(table: str) -> str:
    columns = COLUMNS[table]
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"


def _all(history: History) -> Iterable[Rows]:
    yield history.begin()
    yield from _told(history.pieces(), history)


def _fill_postgresql(url: str, history: History) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        connection.execute("SET maintenance_work_mem = '512MB'")
        connection.execute("SET synchronous_commit = off")
        made = connection.execute(
            "SELECT i.indexname, i.indexdef FROM pg_indexes AS i LEFT JOIN pg_constraint AS c"
            " ON c.conname = i.indexname WHERE i.schemaname = 'public' AND c.oid IS NULL"
        ).fetchall()
        for name, _ in made:
            connection.execute(f'DROP INDEX "{name}"'.encode())
        connection.execute("ALTER TABLE runs DISABLE TRIGGER USER")
        # Each row would look up the row it refers to.
        connection.execute("SET session_replication_role = replica")
        for rows in _all(history):
            with connection.transaction(), connection.cursor() as cursor:
                for table, found in rows.items():
                    if found:
                        _copy(cursor, table, found)
        connection.execute(
            "INSERT INTO run_words SELECT id,"
            " array_to_tsvector(array_remove(string_to_array(words, ' '), '')) FROM runs WHERE words <> ''"
        )
        print("    indexes", file=sys.stderr, flush=True)
        for _, statement in made:
            connection.execute(statement.encode())
        connection.execute("ALTER TABLE runs ENABLE TRIGGER USER")
        for table, columns in COLUMNS.items():
            if "id" in columns:
                newest = f"(SELECT max(id) FROM {table})"
                counter = f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {newest})"
                connection.execute(counter.encode())
        connection.execute("VACUUM (ANALYZE)")


def _copy(cursor: psycopg.Cursor[tuple[object, ...]], table: str, rows: list[Row]) -> None:
    with cursor.copy(f"COPY {table} ({', '.join(COLUMNS[table])}) FROM STDIN".encode()) as copy:
        copy.write("".join("\t".join(_copied(value) for value in row) + "\n" for row in rows))


def _copied(value: object) -> str:
    if value is None:
        return "\\N"
    return value.translate(_ESCAPES) if type(value) is str and "\\" in value else str(value)


def main() -> int:
    """Fills the database that is named."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.seeding", description=__doc__)
    parser.add_argument(
        "--database-url", required=True, help="an empty one: sqlite:///path or postgresql://…"
    )
    parser.add_argument("--runs", type=int, default=History.runs)
    parser.add_argument("--metrics", type=int, default=History.metrics, help="of each run, at most 10")
    parser.add_argument("--seed", type=int, default=History.seed)
    options = parser.parse_args()
    seconds = seed(options.database_url, History(options.runs, options.metrics, options.seed))
    size = make_url(options.database_url).database
    told = f", {Path(size).stat().st_size / 1e9:.1f} GB" if size and Path(size).is_file() else ""
    print(f"{options.runs:,} runs with {options.metrics} metrics each in {seconds:.0f} s{told}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
