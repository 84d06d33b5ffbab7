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
import re
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import inspect, make_url, text
from sqlmodel import Session

from bridge.lineage.checkup import connected, held_leases
from bridge.lineage.database import Database, now
from bridge.lineage.errors import LineageError
from bridge.lineage.schema import is_bridge_schema, is_known_revision, own_tables

_FORMAT = 1
_STAMP, _CONTENT = "stamp.json", "content"
_MAX_STAMP_BYTES = 64 * 1024
_PIECE_BYTES = 1024 * 1024
_MAX_TOLD = 2000
# A line of what pg_restore --list tells: numbers, the kind of thing, its schema, its name, its owner.
_LISTED = re.compile(
    r"\d+; \d+ \d+ (?P<kind>TABLE DATA|TABLE|SEQUENCE SET|SEQUENCE OWNED BY|SEQUENCE|DEFAULT|CONSTRAINT"
    r"|FK CONSTRAINT|INDEX|TRIGGER|VIEW|FUNCTION|COMMENT) \S+ (?P<tag>.+)"
)
T = TypeVar("T")
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

    ``tools`` is the folder of PostgreSQL's programs, if ``PATH`` does not lead there. Raises ``BackupError``.
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

    With ``force`` what the bridge has in the database is lost, and nothing of others. Raises ``BackupError``,
    and changes nothing, for a backup that does not fit, is damaged or cannot be loaded, a database that is
    not empty without ``force``, a SQLite file of somebody else, and while processes of the bridge are there.
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
        tables = _tables_of(place) if place is not None else database.read(_table_names)
        if is_bridge_schema(tables):
            _check_nobody_works(database)
        elif tables and place is not None:
            raise BackupError(
                f"{place} is not the bridge's: it holds {tables[0]}, and {len(tables)} tables in all"
            )
    finally:
        database.close()
    if tables and not force:
        raise BackupError("the database is not empty: with --force what the bridge has in it is lost")


def _check_nobody_works(database: Database) -> None:
    working = sorted({lease.holder for lease in database.read(held_leases)})
    if not working and database.dialect == "postgresql":
        # Who only answers questions holds nothing.
        working = database.read(connected)
    if working:
        raise BackupError(
            f"{', '.join(working)} works on the database: stop every serve and worker first; what a dead one "
            "held runs out within a minute"
        )


def _table_names(session: Session) -> list[str]:
    """Those of the schema that is used."""
    return sorted(inspect(session.connection()).get_table_names())


def _tables_of(place: Path) -> list[str]:
    # By itself: a database of somebody else is not so much as touched.
    with closing(sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        try:
            rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            return [name for (name,) in rows]
        except sqlite3.DatabaseError as error:
            raise BackupError(f"{place} is no SQLite database: {error}") from error


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
    schema, others = _asked(url, _others)
    options = ["--format=custom", "--no-owner", "--no-privileges", f"--file={target}"]
    options += [f"--schema={_quoted(schema)}"]
    options += [f"--exclude-table={_quoted(schema)}.{_quoted(name)}" for name in others]
    _run("pg_dump", url, options, tools)


def _load(url: str, content: Path, tools: Path | None) -> None:
    """Drop and load in one transaction: if anything goes wrong, all is as it was."""
    _tool("psql", tools)
    with _temporary(content.parent) as contents, _temporary(content.parent) as script:
        _run("pg_restore", None, ["--list", f"--file={contents}", str(content)], tools)
        lines = contents.read_text(encoding="utf-8").splitlines()
        contents.write_text("\n".join(line for line in lines if _is_own(line)), encoding="utf-8")
        options = ["--no-owner", "--no-privileges", f"--use-list={contents}", f"--file={script}"]
        _run("pg_restore", None, [*options, str(content)], tools)
        drops = [
            "SET client_min_messages = warning;",
            "SET lock_timeout = '10s';",
            *_asked(url, _drops),
            "RESET lock_timeout;",
        ]
        contents.write_text("\n".join(drops), encoding="utf-8")
        options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--single-transaction"]
        _run("psql", url, [*options, f"--file={contents}", f"--file={script}"], tools)


def _is_own(line: str) -> bool:
    """Whether a line of a dump's list of contents is of something that the bridge makes. What else is in its
    schema is dumped with it, and would be in the way where it is there already."""
    found = _LISTED.match(line)
    if found is None:
        return False
    kind, tag = found["kind"], found["tag"]
    if kind == "FUNCTION":
        return tag.startswith("kfbridge_")
    return kind != "COMMENT" or tag.startswith("TABLE ")


def _asked(url: str, question: Callable[[Session], T]) -> T:
    database = Database(url)
    try:
        return database.read(question)
    finally:
        database.close()


def _others(session: Session) -> tuple[str, list[str]]:
    """The schema that is used, and what relations of others are in it."""
    own = own_tables(session.connection())
    schema = str(session.execute(text("SELECT current_schema()")).scalar_one())
    rows = session.execute(
        text(
            "SELECT relname FROM pg_class AS c WHERE relnamespace = CAST(:schema AS regnamespace) "
            r"AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relname NOT LIKE 'kfbridge\_%' "
            "AND relname <> ALL(:own) AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.objid = c.oid "
            "AND d.deptype IN ('a', 'i') AND d.refobjid = ANY(CAST(CAST(:own AS text[]) AS regclass[])))"
        ),
        {"schema": _quoted(schema), "own": own},
    )
    return schema, list(rows.scalars())


def _drops(session: Session) -> list[str]:
    """What drops the bridge's own tables, views and functions, and nothing else that may be there."""
    own = own_tables(session.connection())
    if not own:
        return []
    functions = session.execute(
        text(
            "SELECT p.oid::regprocedure::text FROM pg_proc AS p "
            "JOIN pg_namespace AS n ON n.oid = p.pronamespace "
            r"WHERE n.nspname = current_schema() AND p.proname LIKE 'kfbridge\_%'"
        )
    )
    return [
        *(f"DROP TABLE {_quoted(name)} CASCADE;" for name in own),
        *(f"DROP FUNCTION {name} CASCADE;" for name in functions.scalars()),
    ]


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _run(program: str, url: str | None, options: list[str], tools: Path | None) -> None:
    command, password = [_tool(program, tools)], {}
    if url is not None:
        parsed = make_url(url)
        # In the environment: other users see the arguments of a process.
        password = {"PGPASSWORD": parsed.password} if parsed.password else {}
        command.append(f"--dbname={parsed.set(drivername='postgresql', password=None).render_as_string()}")
    command += options
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
