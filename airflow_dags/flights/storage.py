"""Where partitions and models lie: plain files on a laptop, any object store Airflow knows elsewhere."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
from flights.settings import store_connection

from bridge.domain.uris import local_path, normalise_uri

_PARTITION = re.compile(r"year=(\d{4})/month=(\d{2})/day=(\d{2})/flights\.parquet$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """One day of flights as stored: ``version`` is the sha256 of the file's bytes."""

    uri: str
    version: str
    rows: int
    bytes: int

    def as_input(self) -> dict[str, Any]:
        """The mapping that goes through XCom to ``publish_dataset`` and to the operator's ``inputs``."""
        return {**asdict(self), "version_kind": "sha256"}


def partition_uri(flights_uri: str, day: date) -> str:
    """The URI of the day's partition below the dataset's URI."""
    folder = f"year={day.year:04d}/month={day.month:02d}/day={day.day:02d}"
    return normalise_uri(f"{flights_uri.rstrip('/')}/{folder}/flights.parquet")


def write_partition(flights_uri: str, day: date, content: bytes, rows: int) -> Partition:
    """Stores the day's Parquet bytes in one step: readers see the old file or the new one, never a part."""
    uri = partition_uri(flights_uri, day)
    write_bytes(uri, content)
    version = hashlib.sha256(content).hexdigest()
    return Partition(uri=uri, version=version, rows=rows, bytes=len(content))


def newest_partitions(flights_uri: str, days: int) -> list[Partition]:
    """The newest ``days`` partitions that are there, oldest first, each with the version it has now.

    The version is the digest of the bytes, measured here: whoever overwrote a partition since the
    ETL ran, what is handed on is what lies there. Raises ``ValueError`` if ``days`` is not positive.
    """
    if days < 1:
        raise ValueError(f"a window of {days} days holds nothing")
    found = sorted(_partition_days(flights_uri), reverse=True)[:days]
    return [_measure(partition_uri(flights_uri, day)) for day in reversed(found)]


def write_bytes(uri: str, content: bytes) -> None:
    """Stores ``content`` at ``uri`` atomically, making folders as needed."""
    path = local_path(uri)
    if path is None:
        # One PUT of one object: object stores show it whole or not at all.
        _remote(uri).write_bytes(content)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def read_bytes(uri: str) -> bytes | None:
    """The content at ``uri``, ``None`` if there is nothing."""
    path = local_path(uri)
    place: Any = Path(path) if path is not None else _remote(uri)
    try:
        return bytes(place.read_bytes())
    except FileNotFoundError:
        return None


def _partition_days(flights_uri: str) -> Iterator[date]:
    path = local_path(flights_uri)
    root: Any = Path(path) if path is not None else _remote(flights_uri)
    for place in root.glob("year=*/month=*/day=*/flights.parquet"):
        match = _PARTITION.search(str(place))
        if match:
            yield date(*map(int, match.groups()))


def _measure(uri: str) -> Partition:
    content = read_bytes(uri)
    if content is None:
        raise FileNotFoundError(f"{uri} vanished while the window was picked")
    rows = pq.read_metadata(io.BytesIO(content)).num_rows
    return Partition(uri=uri, version=hashlib.sha256(content).hexdigest(), rows=rows, bytes=len(content))


def _remote(uri: str) -> Any:
    # Airflow is imported only where an object store is used: the functions of this package are plain Python.
    from airflow.sdk import ObjectStoragePath

    return ObjectStoragePath(uri, conn_id=store_connection())
