"""Validation and features, as plain functions on real flights."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kfp.dsl import Dataset, Metrics

from kfp_pipelines.flight_data import (
    check_versions,
    delay_features,
    feature_columns,
    features,
    is_held_out,
    out_of_range,
    plausible_ranges,
    read_partitions,
    validate,
)


def _validate(
    partitions: list[Dataset],
    folder: Path,
    *,
    versions: list[str] | None = None,
    minimum_rows: int = 200,
    maximum_bad_share: float = 0.01,
) -> tuple[Metrics, Dataset]:
    counts, flights = Metrics(), Dataset(uri=str(folder / "flights.parquet"))
    validate.python_func(
        partitions=partitions,
        versions=versions or [],
        minimum_rows=minimum_rows,
        maximum_bad_share=maximum_bad_share,
        counts=counts,
        flights=flights,
    )
    return counts, flights


def _changed(path: str, folder: Path, column: str, values: pa.Array) -> Dataset:
    table = pq.read_table(path, partitioning=None)
    changed = folder / "changed.parquet"
    pq.write_table(table.set_column(table.column_names.index(column), column, values), changed)
    return Dataset(uri=str(changed))


def test_counts_and_merges_all_partitions(
    partitions: list[Dataset], versions: list[str], tmp_path: Path
) -> None:
    counts, flights = _validate(partitions, tmp_path, versions=list(reversed(versions)))
    merged = pq.read_table(flights.path)
    assert counts.metadata["partitions"] == 3
    assert counts.metadata["rows"] == merged.num_rows == 421 + 472 + 457
    assert counts.metadata["nulls_dep_delay"] == merged["dep_delay"].null_count > 0
    assert counts.metadata["nulls_carrier"] == 0
    assert counts.metadata["out_of_range_temp"] == 0
    assert flights.metadata["rows"] == merged.num_rows
    assert merged["flight_date"].unique().to_pylist() == [date(2013, 1, day) for day in (1, 2, 3)]


def test_hive_style_paths_add_no_columns(paths: list[str], tmp_path: Path) -> None:
    place = tmp_path / "year=2013" / "month=01" / "day=01" / "flights.parquet"
    place.parent.mkdir(parents=True)
    place.write_bytes(Path(paths[0]).read_bytes())
    assert "month" not in read_partitions([str(place)]).column_names


def test_the_order_of_partitions_does_not_matter(paths: list[str]) -> None:
    assert read_partitions(paths).equals(read_partitions(list(reversed(paths))))


def test_no_partition_at_all_fails(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="empty list of flights"):
        _validate([], tmp_path)


def test_too_few_rows_fail(partitions: list[Dataset], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1350 rows are too few to train on, at least 5000"):
        _validate(partitions, tmp_path, minimum_rows=5000)


def test_an_overwritten_partition_fails(
    partitions: list[Dataset], versions: list[str], tmp_path: Path
) -> None:
    named = ["0" * 64, *versions[1:]]
    with pytest.raises(ValueError, match=r"overwritten since, or never named: .*2013-01-01\.parquet"):
        _validate(partitions, tmp_path, versions=named)


def test_a_named_version_that_was_not_read_fails(paths: list[str], versions: list[str]) -> None:
    check_versions(paths, [f"sha256:{version}" for version in versions])
    with pytest.raises(ValueError, match="2 read, 3 named"):
        check_versions(paths[:2], versions)


def test_a_partition_without_a_column_fails(paths: list[str], tmp_path: Path) -> None:
    poor = tmp_path / "poor.parquet"
    pq.write_table(pq.read_table(paths[1], partitioning=None).drop_columns(["temp"]), poor)
    with pytest.raises(ValueError, match="lacks the columns temp"):
        read_partitions([paths[0], str(poor)])


def test_columns_training_needs_have_to_be_there(paths: list[str]) -> None:
    with pytest.raises(ValueError, match="lack the columns seats"):
        out_of_range(read_partitions(paths).drop_columns(["seats"]))


def test_a_few_implausible_values_are_counted_and_made_null(paths: list[str], tmp_path: Path) -> None:
    rows = pq.read_metadata(paths[0]).num_rows
    wind = pa.array([1048.36] + [8.0] * (rows - 1))
    counts, flights = _validate([_changed(paths[0], tmp_path, "wind_speed", wind)], tmp_path)
    assert counts.metadata["out_of_range_wind_speed"] == 1
    assert pq.read_table(flights.path)["wind_speed"].null_count == 1


def test_many_implausible_values_fail_and_still_are_counted(paths: list[str], tmp_path: Path) -> None:
    rows = pq.read_metadata(paths[0]).num_rows
    broken = _changed(paths[0], tmp_path, "arr_delay", pa.array([99_999] * rows))
    counts = Metrics()
    with pytest.raises(ValueError, match=rf"more than 1\.0% .* arr_delay \({rows}\)"):
        validate.python_func(
            partitions=[broken],
            versions=[],
            minimum_rows=1,
            maximum_bad_share=0.01,
            counts=counts,
            flights=Dataset(uri=str(tmp_path / "flights.parquet")),
        )
    assert counts.metadata["out_of_range_arr_delay"] == rows


def test_features_are_known_before_departure_and_labels_follow_the_threshold(paths: list[str]) -> None:
    table = read_partitions(paths)
    frame = delay_features(table, "arrival", 15)
    numeric, categorical = feature_columns()
    known_later = {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"}
    assert not known_later & set(frame.columns)
    assert len(frame) == table.num_rows - table["arr_delay"].null_count
    delays = table.to_pandas()["arr_delay"].dropna()
    assert int(frame["late"].sum()) == int((delays >= 15).sum())
    assert frame[numeric].dtypes.map(str).unique().tolist() == ["float64"]
    assert not frame[categorical].isna().any(axis=None)
    assert delay_features(table, "arrival", 60)["late"].sum() < frame["late"].sum()
    assert delay_features(table, "departure", 15)["late"].sum() != frame["late"].sum()


def test_an_unknown_target_fails(paths: list[str]) -> None:
    with pytest.raises(ValueError, match="target is 'cancelled', expected one of arrival, departure"):
        delay_features(read_partitions(paths), "cancelled", 15)


def test_a_flight_stays_on_its_side_when_the_window_moves(paths: list[str]) -> None:
    wide = delay_features(read_partitions(paths), "arrival", 15)
    narrow = delay_features(read_partitions(paths[1:]), "arrival", 15)
    key = ["flight_date", "origin", "sched_dep_time", "carrier", "flight"]
    wide["held"] = is_held_out(wide, 0, 0.25, 7)
    narrow["held"] = is_held_out(narrow, 0, 0.25, 7)
    both = narrow.merge(wide, on=key, suffixes=("", "_wide"))
    assert len(both) == len(narrow)
    assert (both["held"] == both["held_wide"]).all()
    assert 0.2 < wide["held"].mean() < 0.3
    assert not is_held_out(wide, 0, 0.25, 8).equals(wide["held"])


def test_the_newest_days_can_be_held_out(paths: list[str]) -> None:
    frame = delay_features(read_partitions(paths), "arrival", 15)
    held = is_held_out(frame, 1, 0.25, 7)
    assert frame[held]["flight_date"].unique().tolist() == [date(2013, 1, 3)]


@pytest.mark.parametrize(("days", "share"), [(3, 0.25), (9, 0.25), (0, 0.0), (0, 1.0)])
def test_holding_out_everything_or_nothing_fails(paths: list[str], days: int, share: float) -> None:
    frame = delay_features(read_partitions(paths), "arrival", 15)
    with pytest.raises(ValueError, match="leaves a side empty"):
        is_held_out(frame, days, share, 7)


def test_the_feature_table_says_what_it_holds(partitions: list[Dataset], tmp_path: Path) -> None:
    _, flights = _validate(partitions, tmp_path)
    table = Dataset(uri=str(tmp_path / "table.parquet"))
    features.python_func(
        flights=flights,
        target="departure",
        threshold_minutes=15,
        holdout_days=0,
        test_share=0.25,
        seed=7,
        table=table,
    )
    frame = pd.read_parquet(table.path)
    counts = frame["split"].value_counts().to_dict()
    assert counts == {"train": table.metadata["rows_train"], "test": table.metadata["rows_test"]}
    assert table.metadata["late_share"] == pytest.approx(frame["late"].mean())
    assert (table.metadata["numeric"], table.metadata["categorical"]) == feature_columns()


def test_ranges_are_ranges() -> None:
    assert all(low < high for low, high in plausible_ranges().values())
