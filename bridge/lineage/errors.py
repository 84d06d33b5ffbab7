"""What the lineage database refuses, and why.

LineageError
├── DatabaseUnavailable      it did not answer within the patience; asking again later is right
│   ├── CommitUnknown        the answer to a COMMIT was lost: the work may or may not be stored
│   └── DatabaseFull         there is no room to write; reading goes on
├── DuplicateSubmission      a submission with this key is stored already
├── FencedOut                the lease was lost to another worker: nothing was written
├── HeldByAnother            another process holds this SQLite database
├── NotStored                the run, submission or artifact asked for does not exist
├── BadDatabasePlace         a SQLite database cannot be where its URL says (also a ``ValueError``)
├── CursorError              a page cursor that this listing did not hand out
└── SchemaMismatch           the database is at another schema revision than this program
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID


class LineageError(Exception):
    """The root of everything this package raises on purpose."""


class DatabaseUnavailable(LineageError):
    """The database did not answer, or stayed locked, for ``patience_seconds``; try again later."""

    def __init__(self, detail: str, patience_seconds: float) -> None:
        super().__init__(f"the lineage database is unavailable (tried for {patience_seconds:g} s): {detail}")
        self.patience_seconds = patience_seconds


class CommitUnknown(DatabaseUnavailable):
    """The connection broke while COMMIT was under way: the work may be stored, or may not.

    Raised only for work that was not declared ``repeatable``; the caller has to look before it
    does the work again.
    """


class DatabaseFull(DatabaseUnavailable):
    """The disk of the database is full, or its file may not grow: nothing can be written, all can be read."""

    def __init__(self, detail: str) -> None:
        LineageError.__init__(self, f"the lineage database has no room for what was to be written: {detail}")
        self.patience_seconds = 0.0


class DuplicateSubmission(LineageError):
    """A submission with this key is stored already; read it and answer from it."""

    def __init__(self, key: UUID) -> None:
        super().__init__(f"the submission {key} is stored already")
        self.key = key


class FencedOut(LineageError):
    """Another worker has claimed the run since: this worker's lease is void and nothing was written."""

    def __init__(self, run_id: UUID, duty: str, fence: int) -> None:
        super().__init__(f"the claim {fence} on the duty to {duty} run {run_id} is no longer valid")
        self.run_id = run_id


class HeldByAnother(LineageError):
    """Another process works on this database, and it allows only one (SQLite)."""

    def __init__(self, name: str, holder: str, until: datetime) -> None:
        super().__init__(
            f"{name} is held by {holder} until {until.isoformat(timespec='seconds')}; "
            "a SQLite database serves one bridge process, use PostgreSQL for several"
        )
        self.holder = holder
        self.until = until


class NotStored(LineageError):
    """The run, submission or artifact asked for does not exist."""


class BadDatabasePlace(LineageError, ValueError):
    """A SQLite database's folder does not exist, or a folder stands where its file should be."""


class CursorError(LineageError, ValueError):
    """The cursor was not handed out by this listing."""


class SchemaMismatch(LineageError):
    """The database's schema is not the one this program was written for."""
