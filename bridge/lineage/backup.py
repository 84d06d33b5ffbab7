"""Backups of a whole database in one file, and what puts them back.

A backup is a tar of two members: a stamp (JSON: kind of database, schema revision, version of the bridge,
time, digest) and the content: a SQLite file, or a dump in PostgreSQL's custom format. The stamp comes first,
so that nothing is touched before it is known that the backup fits.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import make_url, text
from sqlmodel import Session

from bridge.lineage.checkup import held_leases
from bridge.lineage.database import Database, now
from bridge.lineage.errors import LineageError
from bridge.lineage.schema import is_known_revision
from bridge.lineage.tables import METADATA

_FORMAT = 1
_STAMP, _CONTENT = "stamp.json", "content"
_MAX_STAMP_BYTES = 64 * 1024
_PIECE_BYTES = 1024 * 1024
_MAX_TOLD = 2000
# What migrations made that no model names.
_MORE_TABLES = ("alembic_version", "run_words")
_OF_POSTGRESQL = (
    "it comes with PostgreSQL's client programs: the package postgresql-client (Debian, Ubuntu), postgresql "
    "(Fedora, RHEL) or libpq (Homebrew), of the server's major version or newer"
)


class BackupError(LineageError):
    """A backup cannot be made or put back; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a backup is of. ``bytes`` and ``sha256`` are of its content."""

    format: int
    dialect: str
    revision: str
    version: str
    made_at: str
    bytes: int
    sha256: str


def back_up(database: Database, url: str, file: Path, *, version: str, tools: Path | None = None) -> Stamp:
    """Write a consistent backup, also while the bridge works; a file of that name is replaced at the end.

    ``tools`` is the folder of ``pg_dump``, if it is not to be found by ``PATH``. Raises ``BackupError``.
    """
    revision = database.revision()
    if revision is None:
        raise BackupError("the database holds no schema yet: there is nothing to back up")
    made_at = database.read(now).isoformat(timespec="seconds")
    folder = file.absolute().parent
    if not folder.is_dir():
        raise BackupError(f"there is no folder {folder}")
    with _temporary(folder) as content, _temporary(folder) as whole:
        if database.dialect == "sqlite":
            _copy_sqlite(Path(str(make_url(url).database)), content)
        else:
            _dump(url, content, tools)
        stamp = Stamp(
            _FORMAT, database.dialect, revision, version, made_at, content.stat().st_size, _digest(content)
        )
        _pack(stamp, content, whole)
        whole.replace(file)
    return stamp


def read_stamp(file: Path) -> Stamp:
    """What the backup is of. Raises ``BackupError`` for a file that is none."""
    try:
        with tarfile.open(file) as tar:
            first = tar.next()
            if first is None or first.name != _STAMP or first.size > _MAX_STAMP_BYTES:
                raise BackupError(f"{file} is no backup of the bridge")
            read = tar.extractfile(first)
            stamp = Stamp(**json.loads(read.read() if read else b""))
    except (tarfile.TarError, ValueError, TypeError) as error:
        raise BackupError(f"{file} is no backup of the bridge: {error}") from error
    except OSError as error:
        raise BackupError(f"{file} cannot be read: {error.strerror}") from error
    if stamp.format != _FORMAT:
        raise BackupError(
            f"{file} is of format {stamp.format}, which this version of the bridge does not read"
        )
    return stamp


def put_back(url: str, file: Path, *, force: bool = False, tools: Path | None = None) -> Stamp:
    """Make the database what it was when the backup was made, and migrate it to this version.

    With ``force`` what is in the database is lost. Raises ``BackupError``, and touches nothing, for a backup
    that does not fit or is damaged, a database that is not empty without ``force``, and while processes of
    the bridge work on it.
    """
    stamp = read_stamp(file)
    parsed = make_url(url)
    dialect = "sqlite" if parsed.get_backend_name() == "sqlite" else "postgresql"
    if stamp.dialect != dialect:
        raise BackupError(f"{file} is a backup of {stamp.dialect}, and the database is {dialect}")
    if not is_known_revision(stamp.revision):
        raise BackupError(
            f"{file} is of schema revision {stamp.revision}, made by version {stamp.version}: this version "
            "does not know it, use that one or a newer one"
        )
    place = Path(str(parsed.database)) if dialect == "sqlite" else None
    _check_target(url, place, force=force)
    folder = place.absolute().parent if place else Path(tempfile.gettempdir())
    with _temporary(folder) as content:
        _unpack(file, stamp, content)
        if place is not None:
            _replace_sqlite(place, content)
        else:
            _load(url, content, tools)
    database = Database(url)
    try:
        database.migrate()
    finally:
        database.close()
    return stamp


def _check_target(url: str, place: Path | None, *, force: bool) -> None:
    if place is not None and not place.exists():
        if not place.absolute().parent.is_dir():
            raise BackupError(f"there is no folder {place.absolute().parent}")
        return
    database = Database(url)
    try:
        if database.revision() is None:
            return
        held = database.read(held_leases)
        if held:
            holders = ", ".join(sorted({lease.holder for lease in held}))
            raise BackupError(
                f"{holders} works on the database: stop every serve and worker first; what a dead one held "
                "runs out within a minute"
            )
    finally:
        database.close()
    if not force:
        raise BackupError("the database is not empty: with --force what is in it is lost")


def _copy_sqlite(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as of, closing(sqlite3.connect(target)) as to:
        of.backup(to)
        # A file of one's own, without the log beside it.
        to.execute("PRAGMA journal_mode = DELETE")


def _replace_sqlite(place: Path, content: Path) -> None:
    with closing(sqlite3.connect(content)) as check:
        (verdict,) = check.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise BackupError(f"the backup's content is damaged: {verdict}")
    for suffix in ("-wal", "-shm"):
        place.with_name(place.name + suffix).unlink(missing_ok=True)
    content.replace(place)


def _dump(url: str, target: Path, tools: Path | None) -> None:
    options = ["--format=custom", "--no-owner", "--no-privileges", f"--file={target}"]
    _run("pg_dump", url, options, tools)


def _load(url: str, content: Path, tools: Path | None) -> None:
    _tool("pg_restore", tools)
    database = Database(url)
    try:
        database.transact(_drop_all)
    finally:
        database.close()
    options = ["--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error", str(content)]
    _run("pg_restore", url, options, tools)


def _drop_all(session: Session) -> None:
    """The bridge's own tables, views and functions, and nothing else that may be in the database."""
    for name in (*METADATA.tables, *_MORE_TABLES):
        session.execute(text(f'DROP TABLE IF EXISTS "{name}" CASCADE'))
    functions = session.execute(
        text(
            "SELECT p.oid::regprocedure::text FROM pg_proc AS p "
            "JOIN pg_namespace AS n ON n.oid = p.pronamespace "
            r"WHERE n.nspname = current_schema() AND p.proname LIKE 'kfbridge\_%'"
        )
    )
    for name in functions.scalars().all():
        session.execute(text(f"DROP FUNCTION {name} CASCADE"))


def _run(program: str, url: str, options: list[str], tools: Path | None) -> None:
    parsed = make_url(url)
    password = {"PGPASSWORD": parsed.password} if parsed.password else {}
    # In the environment: other users see the arguments of a process.
    shown = parsed.set(drivername="postgresql", password=None).render_as_string()
    command = [_tool(program, tools), f"--dbname={shown}", *options]
    ended = subprocess.run(
        command, env={**os.environ, **password}, capture_output=True, text=True, check=False
    )
    if ended.returncode != 0:
        raise BackupError(f"{program} failed: {ended.stderr.strip()[-_MAX_TOLD:]}")


def _tool(program: str, tools: Path | None) -> str:
    found = shutil.which(program, path=str(tools) if tools else None)
    if found is None:
        where = f"in {tools}" if tools else "here"
        raise BackupError(f"there is no program {program} {where}: {_OF_POSTGRESQL}")
    return found


def _pack(stamp: Stamp, content: Path, whole: Path) -> None:
    told = json.dumps(asdict(stamp), indent=2).encode()
    member = tarfile.TarInfo(_STAMP)
    member.size = len(told)
    with tarfile.open(whole, "w") as tar:
        tar.addfile(member, io.BytesIO(told))
        tar.add(content, _CONTENT, filter=_without_owner)


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _unpack(file: Path, stamp: Stamp, target: Path) -> None:
    digest = hashlib.sha256()
    try:
        with tarfile.open(file) as tar, target.open("wb") as out:
            read: Any = tar.extractfile(_CONTENT)
            while piece := read.read(_PIECE_BYTES):
                digest.update(piece)
                out.write(piece)
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise BackupError(f"{file} is damaged: {error}") from error
    if digest.hexdigest() != stamp.sha256:
        raise BackupError(f"{file} is damaged: its content is not what it was when it was made")


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    """A file that only its owner reads; gone at the end unless it was moved away."""
    number, name = tempfile.mkstemp(prefix=".kfbridge-", dir=folder)
    os.close(number)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)
