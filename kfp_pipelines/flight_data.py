"""The first half of flight-delay training: partitions in, checked rows, then features, out.

The helpers are plain functions without imports at module level: kfp copies their source, beside the
component's, into the compiled pipeline.
"""

from typing import Any

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from kfp_pipelines.environment import BASE_IMAGE, TRAINING_PACKAGES


def plausible_ranges() -> dict[str, tuple[float, float]]:
    """The columns training relies on, and the values that can be true of them.

    Delays and air time are minutes, distances miles, temperatures degrees Fahrenheit, wind miles per
    hour, precipitation inches, pressure millibars, visibility miles.
    """
    return {
        "hour": (0, 24),
        "minute": (0, 59),
        "dep_delay": (-180, 2880),
        "arr_delay": (-240, 2880),
        "distance": (1, 6000),
        "temp": (-40, 130),
        "dewp": (-60, 100),
        "humid": (0, 100),
        "wind_speed": (0, 200),
        "precip": (0, 15),
        "pressure": (900, 1090),
        "visib": (0, 20),
        "plane_year": (1930, 2030),
        "seats": (1, 900),
        "engines": (1, 8),
        "dest_lat": (-90, 90),
        "dest_lon": (-180, 180),
    }


def read_partitions(paths: list[str]) -> Any:
    """The rows of all partitions as one Arrow table, in the order of day, origin, time, carrier, flight.

    Raises ``ValueError`` if there is no partition or one lacks a column that others have.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not paths:
        raise ValueError("there is no partition to train on: the pipeline was given an empty list of flights")
    # partitioning=None: the paths' year=/month=/day= are not to become columns.
    tables = [pq.read_table(path, partitioning=None) for path in sorted(paths)]
    names = list(dict.fromkeys(name for table in tables for name in table.column_names))
    for path, table in zip(sorted(paths), tables, strict=True):
        missing = sorted(set(names) - set(table.column_names))
        if missing:
            raise ValueError(f"the partition {path} lacks the columns {', '.join(missing)}")
    merged = pa.concat_tables([table.select(names) for table in tables], promote_options="permissive")
    order = ["flight_date", "origin", "sched_dep_time", "carrier", "flight"]
    return merged.sort_by([(name, "ascending") for name in order])


def check_versions(paths: list[str], versions: list[str]) -> None:
    """Raises ``ValueError`` unless the files' sha256 digests are exactly the ``versions`` that were named.

    Compared without order, because a backend may collect a loop's artifacts in any.
    """
    import hashlib
    from collections import Counter
    from pathlib import Path

    found = {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in paths}
    named = Counter(version.removeprefix("sha256:") for version in versions)
    strangers = [path for path, digest in found.items() if digest not in named]
    if Counter(found.values()) != named:
        raise ValueError(
            f"the partitions read are not the versions that were named: {len(found)} read, "
            f"{len(versions)} named; overwritten since, or never named: {', '.join(strangers) or 'none'}"
        )


def out_of_range(table: Any) -> dict[str, int]:
    """By column: how many values cannot be true. Raises ``ValueError`` if a column is missing."""
    import pyarrow.compute as pc

    ranges = plausible_ranges()
    missing = sorted(set(ranges) - set(table.column_names))
    if missing:
        raise ValueError(f"the flights lack the columns {', '.join(missing)}")
    counts = {}
    for name, (low, high) in ranges.items():
        outside = pc.or_(pc.less(table[name], low), pc.greater(table[name], high))
        counts[name] = int(pc.sum(outside).as_py() or 0)
    return counts


@dsl.component(
    base_image=BASE_IMAGE,
    packages_to_install=TRAINING_PACKAGES,
    additional_funcs=[plausible_ranges, read_partitions, check_versions, out_of_range],
)
def validate(
    *,
    partitions: Input[list[Dataset]],
    versions: list[str],
    minimum_rows: int,
    maximum_bad_share: float,
    counts: Output[Metrics],
    flights: Output[Dataset],
):
    """Counts what is there and what is missing, refuses data nobody should train on, and merges the rest.

    Args:
        partitions: One Parquet file for each day.
        versions: The sha256 digests that the partitions must have; none given, none checked.
        minimum_rows: Fewer rows than this are refused.
        maximum_bad_share: The share of implausible values, 0 to 1, that a column may have.
        counts: Rows, partitions, nulls and implausible values by column.
        flights: All rows in one Parquet file, implausible values made null.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    paths = [partition.path for partition in partitions]
    if versions:
        check_versions(paths, versions)
    table = read_partitions(paths)
    print(f"{len(paths)} partitions, {table.num_rows} rows")
    if table.num_rows < minimum_rows:
        raise ValueError(f"{table.num_rows} rows are too few to train on, at least {minimum_rows} are wanted")

    bad = out_of_range(table)
    counts.log_metric("rows", table.num_rows)
    counts.log_metric("partitions", len(paths))
    for name in table.column_names:
        counts.log_metric(f"nulls_{name}", table[name].null_count)
    for name, count in bad.items():
        counts.log_metric(f"out_of_range_{name}", count)

    refused = [
        f"{name} ({count})" for name, count in bad.items() if count > maximum_bad_share * table.num_rows
    ]
    if refused:
        raise ValueError(
            f"more than {maximum_bad_share:.1%} of the values are implausible in: {', '.join(refused)}"
        )
    for name, (low, high) in plausible_ranges().items():
        column = table[name]
        believable = pc.and_(pc.greater_equal(column, low), pc.less_equal(column, high))
        kept = pc.if_else(believable, column, pa.scalar(None, column.type))
        table = table.set_column(table.column_names.index(name), name, kept)
    pq.write_table(table, flights.path, compression="zstd")
    flights.metadata.update({"rows": table.num_rows, "partitions": len(paths), "format": "parquet"})


def feature_columns() -> tuple[list[str], list[str]]:
    """The numeric and the categorical features: only what is known before a flight is scheduled to leave."""
    numeric = [
        "minute_of_day",
        "distance",
        "temp",
        "dewp",
        "humid",
        "wind_speed",
        "precip",
        "pressure",
        "visib",
        "plane_age",
        "seats",
        "engines",
        "dest_lat",
        "dest_lon",
    ]
    return numeric, ["carrier", "origin", "dest"]


def delay_features(table: Any, target: str, threshold_minutes: int) -> Any:
    """Features and the label ``late`` (0 or 1) as a pandas DataFrame, one row for each flight that has one.

    A cancelled or diverted flight has no delay and is left out. Raises ``ValueError`` for another
    target than ``arrival`` or ``departure``.
    """
    delays = {"arrival": "arr_delay", "departure": "dep_delay"}
    if target not in delays:
        raise ValueError(f"target is {target!r}, expected one of {', '.join(delays)}")
    frame = table.to_pandas()
    frame = frame[frame[delays[target]].notna()].reset_index(drop=True)
    frame["minute_of_day"] = frame["hour"] * 60 + frame["minute"]
    frame["plane_age"] = frame["flight_date"].map(lambda day: day.year) - frame["plane_year"]
    frame["late"] = (frame[delays[target]] >= threshold_minutes).astype("int64")
    numeric, categorical = feature_columns()
    frame[numeric] = frame[numeric].astype("float64")
    frame[categorical] = frame[categorical].astype("str")
    return frame[["flight_date", "sched_dep_time", "flight", *numeric, *categorical, "late"]]


def is_held_out(frame: Any, holdout_days: int, test_share: float, seed: int) -> Any:
    """For each row, whether it is kept for the evaluation.

    With ``holdout_days`` the newest days are; else ``test_share`` of the flights, drawn by a hash of the
    flight and the seed: a flight stays on its side however the window around it moves, so that the
    metrics of two trainings speak of mostly the same flights. Raises ``ValueError`` if a side is empty.
    """
    import hashlib

    if holdout_days > 0:
        newest = sorted(frame["flight_date"].unique())[-holdout_days:]
        held = frame["flight_date"].isin(newest)
    else:
        key = (
            frame[["flight_date", "origin", "sched_dep_time", "carrier", "flight"]]
            .astype("str")
            .agg("|".join, axis=1)
        )
        draws = key.map(
            lambda text: int(hashlib.sha256(f"{seed}|{text}".encode()).hexdigest()[:12], 16) / 16**12
        )
        held = draws < test_share
    if held.all() or not held.any():
        raise ValueError(
            f"holding out {holdout_days} days or {test_share:.0%} of {len(frame)} flights leaves a side empty"
        )
    return held


@dsl.component(
    base_image=BASE_IMAGE,
    packages_to_install=TRAINING_PACKAGES,
    additional_funcs=[feature_columns, delay_features, is_held_out],
)
def features(
    *,
    flights: Input[Dataset],
    target: str,
    threshold_minutes: int,
    holdout_days: int,
    test_share: float,
    seed: int,
    table: Output[Dataset],
):
    """Makes the features and the label, and says of each flight whether it trains or tests.

    Args:
        flights: The validated rows.
        target: arrival or departure, whose delay is predicted.
        threshold_minutes: From how many minutes on a flight counts as late.
        holdout_days: How many of the newest days to hold out; 0 holds out test_share instead.
        test_share: The share of flights to hold out, 0 to 1.
        seed: Decides which flights test_share draws.
        table: Features, the label late, and the column split (train or test), as Parquet.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    frame = delay_features(pq.read_table(flights.path), target, threshold_minutes)
    held = is_held_out(frame, holdout_days, test_share, seed)
    frame["split"] = pd.Series("train", index=frame.index).mask(held, "test")
    frame.to_parquet(table.path, index=False)
    numeric, categorical = feature_columns()
    table.metadata.update(
        {
            "rows": len(frame),
            "rows_train": int((~held).sum()),
            "rows_test": int(held.sum()),
            "late_share": float(frame["late"].mean()),
            "target": target,
            "threshold_minutes": threshold_minutes,
            "numeric": numeric,
            "categorical": categorical,
        }
    )
    print(f"{len(frame)} flights, {int(held.sum())} of them held out, {frame['late'].mean():.1%} late")
