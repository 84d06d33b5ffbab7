"""A database for each history, with a clock of its own, and the exceptions that the service logs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bridge.lineage.database import Database
from tests.faults.simulated.clock import Clock
from tests.support.postgres import PostgresServer


@dataclass
class Databases:
    """Makes an empty database with a clock of its own for every example."""

    folder: Path
    empty: Path | None = None
    server: PostgresServer | None = None
    template: str = ""
    count: int = 0

    def open(self, stack: ExitStack) -> tuple[Database, Clock]:
        """A fresh one, closed and removed with the stack."""
        self.count += 1
        if self.server is None:
            clock = Clock()
            stack.enter_context(clock.rules_sqlite())
            path = self.folder / f"{self.count}.db"
            assert self.empty is not None
            shutil.copy(self.empty, path)
            stack.callback(path.unlink)
            database = Database(f"sqlite:///{path}", pool_size=2)
        else:
            name = self.server.create_database(template=self.template)
            stack.callback(self.server.drop_database, name)
            url = self.server.url(name)
            self.server.execute(f'ALTER DATABASE "{name}" SET search_path = simulated, public, pg_catalog')
            clock = Clock(stack.enter_context(psycopg.connect(url, autocommit=True)))
            database = Database(url, pool_size=2)
        stack.callback(database.close)
        return database, clock


class Errors(logging.Handler):
    """What the service logs as an exception: a job that failed is forgotten in production, and not here."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.records.append(record)

    def told(self) -> str:
        """The exceptions with their traces."""
        return "\n".join(logging.Formatter().format(record) for record in self.records)

    @classmethod
    @contextmanager
    def listening(cls) -> Iterator[Errors]:
        """For as long as the block runs."""
        handler, log = cls(), logging.getLogger("bridge")
        log.addHandler(handler)
        propagates, log.propagate = log.propagate, False
        try:
            yield handler
        finally:
            log.propagate = propagates
            log.removeHandler(handler)
