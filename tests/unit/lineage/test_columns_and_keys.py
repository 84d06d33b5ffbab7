"""Values on their way into columns, keys and cursors, without a database."""

from __future__ import annotations

import json
import string
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import postgresql, sqlite

from bridge.domain.identity import Origin
from bridge.domain.lineage import GateVerdict, RunError
from bridge.lineage.columns import Uid, UtcTime, clean_text, to_json
from bridge.lineage.convert import (
    bounded_key,
    error_from_json,
    error_to_json,
    gate_from_json,
    gate_to_json,
    origin_from_json,
    origin_to_json,
    run_from_row,
    run_to_row,
    submission_from_row,
    submission_to_row,
    uri_key,
)
from bridge.lineage.cursors import make_cursor, page_size, parse_moment, read_cursor
from bridge.lineage.engine import parse_url
from bridge.lineage.errors import CursorError
from tests.support.lineage_samples import ETL, RETRAINING, a_run, a_submission, partition

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=10,
)
# st.characters() leaves surrogates out unless asked for.
ROUGH = st.text(st.characters(categories=["L", "N", "Cs", "Cc"]))


@given(ROUGH)
def test_cleaned_text_can_be_stored_anywhere_and_stays_clean(text: str) -> None:
    cleaned = clean_text(text)
    assert "\x00" not in cleaned
    cleaned.encode("utf-8")
    assert clean_text(cleaned) == cleaned
    if "\x00" not in text and not any("\ud800" <= letter <= "\udfff" for letter in text):
        assert cleaned == text


@given(st.dictionaries(ROUGH, JSON | ROUGH, max_size=4))
def test_json_is_always_json_that_postgresql_takes(value: dict[str, Any]) -> None:
    text = to_json(value)
    text.encode("ascii")
    assert "\\u0000" not in text.replace("\\\\", "")
    back = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert to_json(back) == text


def test_one_value_has_one_text() -> None:
    assert to_json({"b": 1, "a": [2.5, "ä\x00"]}) == to_json({"a": [2.5, "ä\ufffd"], "b": 1})
    assert to_json({"a": "\U0001f6eb"}) == '{"a":"\\ud83d\\udeeb"}'


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()])
def test_moments_are_utc_whatever_zone_they_came_in(dialect: Any) -> None:
    column = UtcTime()
    moment = datetime(2013, 1, 5, 3, 0, tzinfo=timezone(timedelta(hours=5)))
    bound = column.process_bind_param(moment, dialect)
    assert bound is not None
    assert (bound.hour, bound.day) == (22, 4)
    assert column.process_result_value(bound, dialect) == moment
    assert column.process_bind_param(None, dialect) is None
    with pytest.raises(ValueError, match="time zone"):
        column.process_bind_param(datetime(2013, 1, 5), dialect)


@pytest.mark.parametrize("dialect", [sqlite.dialect(), postgresql.dialect()])
def test_uuids_are_uuids_again(dialect: Any) -> None:
    value = uuid4()
    bound = Uid().process_bind_param(value, dialect)
    assert bound == (value if dialect.name == "postgresql" else str(value))
    assert Uid().process_result_value(bound, dialect) == value
    assert Uid().process_bind_param(str(value), dialect) == bound


@given(st.text(string.printable, max_size=3000), st.text(string.printable, max_size=3000))
def test_bounded_keys_fit_an_index_and_tell_texts_apart(one: str, other: str) -> None:
    assert len(bounded_key(one).encode()) <= 1024
    assert (bounded_key(one) == bounded_key(other)) == (one == other)


def test_the_key_of_a_place_is_its_normalised_uri() -> None:
    assert uri_key("S3A://Bucket/a b") == "s3://Bucket/a%20b"
    assert uri_key("/data/x/") == "file:///data/x"
    assert uri_key("relative/path") is None
    assert uri_key("") is None
    assert uri_key(None) is None


@pytest.mark.parametrize(
    "origin", [Origin(), ETL, RETRAINING, Origin(map_index=0, try_number=3, url="https://x")]
)
def test_origins_survive_json(origin: Origin) -> None:
    assert origin_from_json(json.loads(to_json(origin_to_json(origin)))) == origin


def test_an_unknown_origin_is_nothing() -> None:
    assert origin_to_json(Origin()) == {}
    assert origin_from_json(None) == Origin()
    assert origin_from_json({"from": "a newer version"}) == Origin()


def test_errors_and_verdicts_survive_json() -> None:
    error = RunError(message="m", code="c", task="t", log_tail=("a", "b"))
    gate = GateVerdict(
        expression="e", passed=None, numbers={"x": 1.0, "y": None}, reason="r", last_good_run=UUID(int=4)
    )
    assert error_from_json(json.loads(to_json(error_to_json(error)))) == error
    assert gate_from_json(json.loads(to_json(gate_to_json(gate)))) == gate
    assert error_from_json(error_to_json(None)) is None
    assert gate_from_json(gate_to_json(None)) is None


def test_runs_and_submissions_survive_their_rows() -> None:
    submission = a_submission(inputs=(partition(5, version="v", producer=ETL), partition(6)))
    run = a_run(submission, error=RunError(message="m"))
    assert submission_from_row(submission_to_row(submission)) == submission  # type: ignore[arg-type]
    assert run_from_row(run_to_row(run)) == run  # type: ignore[arg-type]


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_cursors_are_read_as_they_were_made(moment: datetime, run_id: UUID) -> None:
    cursor = make_cursor("runs", moment, run_id)
    assert cursor.isascii()
    assert "=" not in cursor
    assert read_cursor("runs", cursor, parse_moment, UUID) == [moment, run_id]
    with pytest.raises(CursorError):
        read_cursor("pipelines", cursor, str, str)


@given(st.text(max_size=60))
def test_anything_else_is_no_cursor(text: str) -> None:
    with pytest.raises(CursorError):
        read_cursor("runs", text, parse_moment, UUID)


def test_a_cursor_with_a_moment_of_no_zone_is_refused() -> None:
    with pytest.raises(CursorError):
        read_cursor("runs", make_cursor("runs", "2013-01-05T00:00:00", str(UUID(int=1))), parse_moment, UUID)


def test_pages_are_bounded() -> None:
    assert [page_size(limit) for limit in (1, 200, 5000)] == [1, 200, 200]
    for limit in (0, -1):
        with pytest.raises(ValueError, match="at least one"):
            page_size(limit)


@pytest.mark.parametrize(
    ("text", "driver"),
    [
        ("sqlite:///lineage.db", "sqlite+pysqlite"),
        ("postgresql://u:p@host/db", "postgresql+psycopg"),
        ("postgres://u:p@host/db", "postgresql+psycopg"),
        ("postgresql+psycopg2://u:p@host/db", "postgresql+psycopg"),
    ],
)
def test_urls_get_the_driver_we_have(text: str, driver: str) -> None:
    assert parse_url(text).drivername == driver


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("mysql://u:secret@host/db", "not 'mysql'"),
        ("no url at all, secret", "is not one"),
        ("", "is not one"),
    ],
)
def test_other_urls_are_refused_with_what_to_do_and_no_password(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as refused:
        parse_url(text)
    assert "secret" not in str(refused.value)
