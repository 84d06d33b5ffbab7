"""The ETL on the real data: what it makes of a day, what it refuses, and what it leaves behind."""

from __future__ import annotations

import io
import time
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from flights import checks, days, settings, source, storage, transform

DAY = date(2013, 1, 5)


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """The real fifth of January."""
    return transform.build_day(source.source_folder(), DAY)


def test_a_day_is_joined_without_losing_or_repeating_a_flight(table: pa.Table) -> None:
    assert table.num_rows == 720
    assert table["temp"].null_count == 0
    assert 0 < table["seats"].null_count < 200
    assert table["dest_lat"].null_count < 30
    assert table["flight_date"].unique().to_pylist() == [DAY]
    assert not {"year", "month", "day"} & set(table.column_names)
    first = table.slice(0, 1).to_pylist()[0]
    assert (first["origin"], first["sched_dep_time"]) == ("EWR", 500)
    checks.check_day(table, DAY)


def test_a_day_takes_well_under_three_seconds() -> None:
    began = time.process_time()
    transform.to_parquet(transform.build_day(source.source_folder(), date(2013, 7, 8)))
    assert time.process_time() - began < 3


@pytest.mark.parametrize("day", [date(2013, 2, 8), date(2013, 12, 31), date(2013, 11, 28)])
def test_the_year_s_odd_days_pass_their_checks(day: date) -> None:
    # A blizzard, a day without any weather, and the emptiest day of the year.
    checks.check_day(transform.build_day(source.source_folder(), day), day)


def test_a_day_outside_the_source_fails() -> None:
    with pytest.raises(source.SourceError, match="no flights on 2014-01-01"):
        transform.build_day(source.source_folder(), date(2014, 1, 1))


def test_the_same_day_gives_the_same_bytes(table: pa.Table) -> None:
    again = transform.build_day(source.source_folder(), DAY)
    assert transform.to_parquet(again) == transform.to_parquet(table)
    assert pq.read_table(io.BytesIO(transform.to_parquet(table))).num_rows == table.num_rows


def test_all_failed_checks_are_told_at_once(table: pa.Table) -> None:
    broken = pa.concat_tables([table.slice(0, 5), table.slice(0, 5)])
    nulls = pa.nulls(10, pa.int64())
    broken = broken.set_column(broken.column_names.index("distance"), "distance", nulls)
    with pytest.raises(checks.PartitionError) as caught:
        checks.check_day(broken, date(2013, 1, 6))
    problems = caught.value.problems
    assert any("10 rows, expected 500 to 1200" in problem for problem in problems)
    assert any("5 rows repeat another's" in problem for problem in problems)
    assert any("distance is null in 100.0%" in problem for problem in problems)
    assert any("rows of other days: 2013-01-05" in problem for problem in problems)
    assert all(problem in str(caught.value) for problem in problems)


def test_a_missing_column_and_a_strange_origin_fail(table: pa.Table) -> None:
    origins = pa.array(["SFO", *table["origin"].to_pylist()[1:]])
    broken = table.set_column(table.column_names.index("origin"), "origin", origins).drop_columns(["seats"])
    with pytest.raises(checks.PartitionError, match=r"seats is missing; unexpected origins \['SFO'\]"):
        checks.check_day(broken, DAY)


def test_a_join_that_repeats_flights_fails() -> None:
    folder = source.source_folder()
    weather = source.read_weather(folder)
    with pytest.raises(checks.PartitionError, match="joining by origin, time_hour made 1440 rows out of 720"):
        transform.join_day(
            source.read_flights(folder, DAY),
            DAY,
            weather=pa.concat_tables([weather, weather]),
            planes=source.read_planes(folder),
            destinations=source.read_destinations(folder),
        )


def test_a_partition_is_found_again_in_the_version_it_has(tmp_path: Path, table: pa.Table) -> None:
    root = (tmp_path / "data" / "flights").as_uri()
    content = transform.to_parquet(table)
    written = [storage.write_partition(root, DAY + timedelta(days=n), content, 720) for n in (2, 0, 1)]
    assert written[1].uri == f"{root}/year=2013/month=01/day=05/flights.parquet"
    assert storage.newest_partitions(root, 30) == [written[1], written[2], written[0]]
    assert storage.newest_partitions(root, 2) == [written[2], written[0]]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3, "no temporary file is left"


def test_an_overwritten_partition_has_another_version(tmp_path: Path, table: pa.Table) -> None:
    root = tmp_path.as_uri()
    first = storage.write_partition(root, DAY, transform.to_parquet(table), 720)
    shorter = transform.to_parquet(table.slice(0, 700))
    storage.write_partition(root, DAY, shorter, 700)
    [found] = storage.newest_partitions(root, 1)
    assert (found.uri, found.rows) == (first.uri, 700)
    assert found.version != first.version


def test_nothing_is_no_window_and_a_window_of_nothing_an_error(tmp_path: Path) -> None:
    assert storage.newest_partitions((tmp_path / "none").as_uri(), 5) == []
    with pytest.raises(ValueError, match="a window of 0 days"):
        storage.newest_partitions(tmp_path.as_uri(), 0)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "pointer.json"
    storage.write_bytes(target.as_uri(), b"old")
    with pytest.raises(TypeError):
        storage.write_bytes(target.as_uri(), "text is no content")  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_object_store_is_written_and_listed_the_same_way(table: pa.Table) -> None:
    root = "memory://kfbridge-test/flights"
    content = transform.to_parquet(table)
    written = storage.write_partition(root, DAY, content, 720)
    assert storage.read_bytes(written.uri) == content
    assert storage.read_bytes(f"{root}/nothing") is None
    assert storage.newest_partitions(root, 3) == [written]


def test_the_param_names_the_day_before_the_logical_date_does() -> None:
    evening = datetime(2013, 1, 5, 23, tzinfo=timezone(timedelta(hours=-5)))
    assert days.day_of({"day": "2013-02-03"}, evening) == date(2013, 2, 3)
    assert days.day_of({"day": None}, evening) == date(2013, 1, 6)
    assert days.day_of({}, datetime(2013, 1, 5, tzinfo=UTC)) == DAY
    with pytest.raises(ValueError, match="give the param day"):
        days.day_of({}, None)
    with pytest.raises(ValueError, match="Invalid isoformat"):
        days.day_of({"day": "yesterday"}, None)


def test_data_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFBRIDGE_DATA_URI", "s3a://lake/demo/")
    assert settings.flights_uri() == "s3://lake/demo/flights"
    assert settings.registry_uri() == "s3://lake/demo/models"
    assert settings.registry_folder() == ""
    monkeypatch.setenv("KFBRIDGE_REGISTRY_URI", "/models/")
    assert settings.registry_uri() == settings.registry_folder() == "file:///models"
    monkeypatch.delenv("KFBRIDGE_DATA_URI")
    monkeypatch.setenv("AIRFLOW_HOME", "/somewhere/airflow")
    assert settings.data_uri() == "file:///somewhere/airflow/kfbridge-data"


def test_the_retry_delay_has_to_be_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.retry_delay() == timedelta(minutes=5)
    monkeypatch.setenv("KFBRIDGE_RETRY_DELAY_SECONDS", "soon")
    with pytest.raises(ValueError, match="soon"):
        settings.retry_delay()
