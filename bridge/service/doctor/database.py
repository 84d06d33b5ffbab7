"""Checks of the lineage database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import make_url

from bridge.lineage import checkup
from bridge.lineage.database import Database
from bridge.lineage.errors import BadDatabasePlace, DatabaseUnavailable, LineageError
from bridge.lineage.schema import is_known_revision
from bridge.service.doctor.findings import Finding, error, ok, warning
from bridge.service.settings import ServiceSettings
from bridge.service.workers.hold import is_dead

_SUBJECT = "database"
_OLDEST_POSTGRESQL = (14,)
# RETURNING came with this one.
_OLDEST_SQLITE = (3, 35)
_LITTLE_BYTES = 1024**3
_TOO_LITTLE_BYTES = 100 * 1024**2
_CLOCK_SECONDS = 5.0


def check_database(settings: ServiceSettings) -> Iterator[Finding]:
    """Every finding about the database that the settings name. Nothing is made or changed there."""
    file = _sqlite_file(settings.database_url)
    if file is not None:
        yield from _check_file(file)
        if not file.exists():
            return
    try:
        database = Database(settings.database_url, pool_size=1, patience_seconds=2.0)
    except BadDatabasePlace as place:
        yield error("database.place", _SUBJECT, str(place), "make the folder, or correct database_url.")
        return
    except (ValueError, LineageError) as wrong:
        yield error("database.place", _SUBJECT, str(wrong), "correct database_url (KFBRIDGE_DATABASE_URL).")
        return
    try:
        yield from _check_server(database)
    finally:
        database.close()


def _sqlite_file(url: str) -> Path | None:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        return None
    return Path(parsed.database)


def _check_file(file: Path) -> Iterator[Finding]:
    folder = file.parent.absolute()
    if not folder.is_dir() or file.is_dir():
        what = f"{file.absolute()} is a folder" if file.is_dir() else f"there is no folder {folder}"
        yield error("database.place", _SUBJECT, what, "make the folder, or correct database_url.")
        return
    kind = checkup.network_file_system(folder)
    if kind is not None:
        yield error(
            "database.network-file-system",
            _SUBJECT,
            f"{folder} is on a network file system ({kind})",
            "put the SQLite file on a disk of this machine, or use PostgreSQL.",
        )
    else:
        yield ok("database.network-file-system", _SUBJECT, f"{folder} is on a disk of this machine")
    yield _check_space(folder)
    if not file.exists():
        yield warning(
            "database.schema",
            _SUBJECT,
            f"there is no database {file} yet",
            "nothing, if this is a new installation: 'kfbridge serve' makes it. Else correct database_url.",
        )


def _check_space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    found = f"{free / 1024**3:.1f} GiB free at {folder}"
    if free >= _LITTLE_BYTES:
        return ok("database.disk-space", _SUBJECT, found)
    to_do = "make room: docs/tune.md tells what takes it."
    make = error if free < _TOO_LITTLE_BYTES else warning
    return make("database.disk-space", _SUBJECT, found, to_do)


def _check_server(database: Database) -> Iterator[Finding]:
    try:
        facts = database.read(checkup.server_facts)
    except DatabaseUnavailable as away:
        yield error(
            "database.reachable",
            _SUBJECT,
            str(away),
            "see that it runs, that this machine may reach it, and that database_url has its host, name, "
            "user and password.",
        )
        return
    name = "SQLite" if database.dialect == "sqlite" else "PostgreSQL"
    yield ok("database.reachable", _SUBJECT, f"{database.shown_url} answers")
    yield _check_version(name, facts)
    if database.dialect == "postgresql":
        yield _check_clock(facts.time)
    revision = database.revision()
    finding = _check_schema(database, revision)
    yield finding
    if finding.level == "ok":
        yield from _check_work(database)


def _check_version(name: str, facts: checkup.ServerFacts) -> Finding:
    oldest = _OLDEST_SQLITE if name == "SQLite" else _OLDEST_POSTGRESQL
    found = f"{name} {facts.version_text}"
    if facts.version >= oldest:
        return ok("database.version", _SUBJECT, found)
    needed = ".".join(str(number) for number in oldest)
    if name == "SQLite":
        return error("database.version", _SUBJECT, found, f"use a Python that has SQLite {needed} or newer.")
    return warning(
        "database.version", _SUBJECT, found, f"upgrade the server to PostgreSQL {needed} or newer."
    )


def _check_clock(theirs: datetime) -> Finding:
    apart = (datetime.now(UTC) - theirs).total_seconds()
    found = f"the database's clock and this machine's are {abs(apart):.1f} s apart"
    if abs(apart) <= _CLOCK_SECONDS:
        return ok("database.clock", _SUBJECT, found)
    return warning("database.clock", _SUBJECT, found, "let both follow a time server (NTP).")


def _check_schema(database: Database, revision: str | None) -> Finding:
    head = database.head()
    if revision == head:
        return ok("database.schema", _SUBJECT, f"schema revision {revision}")
    if revision is not None and not is_known_revision(revision):
        return error(
            "database.schema",
            _SUBJECT,
            f"schema revision {revision}, which this version of the bridge ({head}) does not know",
            "a newer version has migrated it: use that version here too. There is no way back but a backup.",
        )
    found = f"schema revision {revision or 'none'}, this version needs {head}"
    if database.dialect == "sqlite":
        to_do = "nothing: 'kfbridge serve' migrates it at its start; or run 'kfbridge migrate' now."
        return warning("database.schema", _SUBJECT, found, to_do)
    return error("database.schema", _SUBJECT, found, "run 'kfbridge migrate' with this version.")


def _check_work(database: Database) -> Iterator[Finding]:
    held = database.read(checkup.held_leases)
    holders = sorted({lease.holder for lease in held})
    told = f"{len(holders)} at work: {', '.join(holders)}" if holders else "no process works on it now"
    dead = [holder for holder in holders if is_dead(holder)]
    if dead and database.dialect == "sqlite":
        yield warning(
            "database.holders",
            _SUBJECT,
            f"held by {', '.join(dead)}, which runs no more",
            "nothing: the next process takes it over at its start.",
        )
    else:
        yield ok("database.holders", _SUBJECT, told)
    aside = database.read(checkup.count_set_aside)
    if aside:
        yield warning(
            "database.set-aside",
            _SUBJECT,
            f"{aside} pieces of work are set aside",
            "see why with 'kfbridge quarantine list', mend the cause, then 'kfbridge quarantine release'.",
        )
