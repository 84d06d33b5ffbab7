"""What ``kfbridge doctor`` and backups want to know of a database: version, clock, who works on it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import func, select, text
from sqlmodel import Session

from bridge.lineage.columns import database_time
from bridge.lineage.engine import APPLICATION_NAME
from bridge.lineage.records import NamedLease
from bridge.lineage.tables import LEASES, QUARANTINE

# File systems of other machines, as /proc/mounts calls them.
_OF_OTHERS = frozenset(
    {
        *(
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "smbfs",
            "9p",
            "afs",
            "ceph",
            "glusterfs",
            "lustre",
            "ocfs2",
            "gfs2",
        ),
        *("beegfs", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.rclone"),
    }
)


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """A database's program version, such as ``(16, 2)``, and its clock."""

    version: tuple[int, ...]
    time: datetime

    @property
    def version_text(self) -> str:
        """The version with dots."""
        return ".".join(str(number) for number in self.version)


def server_facts(session: Session) -> ServerFacts:
    """What the database server says of itself; needs no schema."""
    if session.get_bind().dialect.name == "sqlite":
        told = str(session.execute(text("SELECT sqlite_version()")).scalar_one())
    else:
        told = str(session.execute(text("SHOW server_version")).scalar_one()).split()[0]
    numbers = tuple(int(part) for part in told.split(".") if part.isdigit())
    return ServerFacts(numbers, session.execute(select(database_time())).scalar_one())


def held_leases(session: Session) -> list[NamedLease]:
    """Every named lease that holds now: which process holds the database, which follows which backend."""
    rows = session.execute(select(LEASES).where(LEASES.c.until > database_time()).order_by(LEASES.c.name))
    return [NamedLease(name=row.name, holder=row.holder, until=row.until, fence=row.fence) for row in rows]


def connected(session: Session) -> list[str]:
    """The bridge's other connections to this PostgreSQL database: where from, and since when."""
    rows = session.execute(
        text(
            "SELECT coalesce(host(client_addr), 'this machine') AS place, backend_start "
            "FROM pg_stat_activity WHERE datname = current_database() AND application_name = :name "
            "AND pid <> pg_backend_pid() "
            "ORDER BY backend_start"
        ),
        {"name": APPLICATION_NAME},
    )
    return [f"a process at {row.place}, connected at {row.backend_start:%H:%M:%S} UTC" for row in rows]


def count_set_aside(session: Session) -> int:
    """How much work is set aside, at all backends."""
    return session.scalars(select(func.count()).select_from(QUARANTINE)).one()


def network_file_system(path: Path, mounts: str | None = None) -> str | None:
    """The kind of network file system that a path is on, ``None`` if it is on none.

    ``mounts`` is the text of ``/proc/mounts``; on systems that have none nothing can be told: ``None``.
    """
    if mounts is None:
        listed = Path("/proc/mounts")
        if not listed.exists():
            return None
        mounts = listed.read_text(encoding="utf-8", errors="replace")
    place = path.resolve()
    longest, kind = -1, None
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        # Spaces in names are written as octal escapes.
        mounted = Path(fields[1].replace("\\040", " "))
        # Of two mounts at one place the later one is seen.
        if place.is_relative_to(mounted) and len(mounted.parts) >= longest:
            longest, kind = len(mounted.parts), fields[2]
    return kind if kind in _OF_OTHERS else None
