"""The databases with a made-up history that several benches ask: one of each kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bridge.lineage.database import Database
from tests.bench.seeding import seed
from tests.bench.seeding_rows import History
from tests.support.postgres import running_postgres


@dataclass(frozen=True, slots=True)
class Seeded:
    """A seeded database; ``server`` is the process id of its PostgreSQL server, ``None`` for a file."""

    name: str
    url: str
    server: int | None = None


@contextmanager
def seeded_databases(home: Path, runs: int, keep: Path | None) -> Iterator[dict[str, Seeded]]:
    """By name a database with so many runs. They stay in the folder ``keep`` and are found there again."""
    folder = keep or home
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"history-{runs}.db"
    if not file.exists():
        seed(f"sqlite:///{file}", History(runs=runs))
    with running_postgres(folder=keep and keep / "postgresql") as server:
        # What PostgreSQL's own documentation advises for a machine with some memory.
        server.execute("ALTER SYSTEM SET shared_buffers = '2GB'")
        server.stop()
        server.start()
        name = f"history_{runs}"
        with psycopg.connect(server.url("postgres")) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        if not known:
            server.execute(f'CREATE DATABASE "{name}"')
            seed(server.url(name), History(runs=runs))
        found = {
            "SQLite": Seeded("SQLite", f"sqlite:///{file}"),
            "PostgreSQL": Seeded("PostgreSQL", server.url(name), server.process_id),
        }
        for one in found.values():
            # One that was kept may be older than this program.
            database = Database(one.url)
            database.migrate()
            database.close()
        yield found
