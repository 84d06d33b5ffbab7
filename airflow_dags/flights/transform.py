"""From source tables to one day's partition: joined, ordered, and the same bytes for the same data."""

from __future__ import annotations

import io
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from flights import source
from flights.checks import KEY, PartitionError


def build_day(folder: Path, day: date) -> pa.Table:
    """The day's flights with the weather at their origin and hour, their plane and their destination.

    One row in, one row out: what has no match keeps nulls. The parts of the date that the partition's
    path names are replaced by ``flight_date``, because readers of Hive-style paths add them again.
    Raises ``SourceError`` for a day that the source does not cover.
    """
    return join_day(
        source.read_flights(folder, day),
        day,
        weather=source.read_weather(folder),
        planes=source.read_planes(folder),
        destinations=source.read_destinations(folder),
    )


def join_day(
    flights: pa.Table, day: date, *, weather: pa.Table, planes: pa.Table, destinations: pa.Table
) -> pa.Table:
    """``build_day`` on tables already read. Raises ``PartitionError`` if a join multiplied rows."""
    joined = flights
    for right, keys in ((weather, ["origin", "time_hour"]), (planes, ["tailnum"]), (destinations, ["dest"])):
        joined = joined.join(right, keys=keys, join_type="left outer")
        if joined.num_rows != flights.num_rows:
            raise PartitionError(
                day, [f"joining by {', '.join(keys)} made {joined.num_rows} rows out of {flights.num_rows}"]
            )
    dates = pa.array([day] * joined.num_rows, pa.date32())
    joined = joined.drop_columns(["year", "month", "day"]).add_column(0, "flight_date", dates)
    # A hash join promises no order; the key makes it one, so that equal data has equal bytes.
    return joined.sort_by([(name, "ascending") for name in KEY]).combine_chunks()


def to_parquet(table: pa.Table) -> bytes:
    """The table as Parquet; the same table gives the same bytes with the same pyarrow."""
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(None), buffer, compression="zstd", row_group_size=1 << 16)
    return buffer.getvalue()
