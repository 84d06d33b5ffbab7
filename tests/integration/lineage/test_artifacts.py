"""The list of artifacts: newest first, by type, pipeline and text, page by page, each where it was made."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bridge.domain.lineage import Run, RunMirror
from bridge.lineage import artifacts
from bridge.lineage.artifacts import ArtifactFilter, ListedArtifact, list_artifacts
from bridge.lineage.contents import NOTHING, unseen_contents
from bridge.lineage.database import Database
from bridge.lineage.errors import CursorError
from bridge.lineage.mirror import store_mirror
from bridge.lineage.tables import ARTIFACTS
from tests.support.lineage_samples import T0, a_mirror, a_submission, submit

DATA = "file:///data/flights/day={day}/flights.parquet"


def trained(database: Database, number: int, pipeline: str = "train", **fields: Any) -> Run:
    """A mirrored run, made ``number`` minutes later than the first, with a model and data."""
    submission = a_submission(created_at=T0 + timedelta(minutes=number), **fields)
    submission = replace(submission, pipeline=replace(submission.pipeline, name=pipeline))

    def write(session: Any) -> Run:
        run = submit(session, submission)
        store_mirror(session, run.run_id, a_mirror(number, data_uri=DATA.format(day=number)))
        return run

    return database.transact(write)


def pages(database: Database, limit: int = 2, **where: Any) -> list[list[ListedArtifact]]:
    """All pages of a listing."""
    found, cursor = [], None
    for _ in range(50):
        page, cursor = database.read(
            lambda s, c=cursor: list_artifacts(s, ArtifactFilter(**where), cursor=c, limit=limit)
        )
        found.append(page)
        if cursor is None:
            return found
    raise AssertionError("the listing has no end")


def uris(listing: list[list[ListedArtifact]]) -> list[str | None]:
    return [one.artifact.uri for page in listing for one in page]


def test_a_file_of_metrics_that_was_not_there_is_not_looked_for_again(database: Database) -> None:
    def write(session: Any) -> Run:
        run = submit(session, a_submission())
        mirror = a_mirror(1)
        told = [
            replace(one, type="system.Metrics" if one.type == "system.Model" else one.type)
            for one in mirror.artifacts
        ]
        store_mirror(session, run.run_id, replace(mirror, artifacts=tuple(told)))
        return run

    run = database.transact(write)
    first = database.read(lambda s: unseen_contents(s, run.run_id, 10))

    def after(error: str) -> dict[int, str]:
        looked = {"content": "unavailable", "content_error": error, "content_checked_at": T0}
        database.transact(lambda s: s.execute(ARTIFACTS.update().values(looked)))
        return database.read(lambda s: unseen_contents(s, run.run_id, 10))

    assert after("no answer within 10 s") == first
    assert set(first.values()) - set(after(NOTHING).values()) == {"file:///artifacts/1/train/model"}


def test_all_artifacts_page_by_page_with_what_made_them(database: Database) -> None:
    runs = [trained(database, number) for number in range(1, 4)]
    found = pages(database)
    assert [len(page) for page in found] == [2, 2, 2]
    assert uris(found) == [
        uri
        for number in (3, 2, 1)
        for uri in (DATA.format(day=number), f"file:///artifacts/{number}/train/model")
    ]
    model = found[0][1]
    assert model.run is not None
    assert (model.run.run_id, model.task_path, model.key) == (runs[2].run_id, "train", "model")
    assert (model.backend, model.project) == (runs[2].backend, runs[2].project)


def test_a_type_a_text_and_a_project_narrow(database: Database) -> None:
    for number in range(1, 4):
        trained(database, number, project="default" if number < 3 else "risk")
    models = [f"file:///artifacts/{number}/train/model" for number in (3, 2, 1)]
    assert uris(pages(database, type="system.Model")) == models
    assert uris(pages(database, type="system.Nothing")) == []
    assert uris(pages(database, text="DAY=2/")) == [DATA.format(day=2)]
    assert uris(pages(database, text="b" * 64)) == models
    assert uris(pages(database, text="day_2")) == []
    assert uris(pages(database, type="system.Model", projects=("risk",))) == models[:1]


def test_a_pipelines_artifacts_stand_where_they_were_made(database: Database) -> None:
    first = trained(database, 1)
    trained(database, 2, pipeline="other")
    later = trained(database, 3)
    # A run that takes what the first made from the cache puts it out again.
    cached = trained(database, 4)
    database.transact(lambda s: store_mirror(s, cached.run_id, a_mirror(1)))
    found = pages(database, pipeline="train", type="system.Model")
    assert uris(found) == [f"file:///artifacts/{number}/train/model" for number in (4, 3, 1)]
    makers = [one.run.run_id for page in found for one in page if one.run]
    assert makers == [cached.run_id, later.run_id, first.run_id]
    assert uris(pages(database, pipeline="train", text="day=3")) == [DATA.format(day=3)]
    assert uris(pages(database, pipeline="none")) == []


def cached(mirror: RunMirror) -> RunMirror:
    return replace(mirror, tasks=tuple(replace(task, cached=True) for task in mirror.tasks))


def stored(database: Database, number: int, mirror: RunMirror) -> Run:
    submission = a_submission(created_at=T0 + timedelta(minutes=number))
    submission = replace(submission, pipeline=replace(submission.pipeline, name="train"))
    run = database.transact(lambda s: submit(s, submission))
    database.transact(lambda s: store_mirror(s, run.run_id, mirror))
    return run


@pytest.mark.parametrize("pipeline", [None, "train"])
def test_a_run_that_took_it_from_the_cache_did_not_make_it(database: Database, pipeline: str | None) -> None:
    # As an import of history stores them: the newest first.
    stored(database, 3, cached(a_mirror(1)))
    stored(database, 2, cached(a_mirror(1)))
    maker = stored(database, 1, a_mirror(1))
    ((model,),) = pages(database, pipeline=pipeline, type="system.Model")
    assert model.run is not None
    assert (model.run.run_id, model.task_path) == (maker.run_id, "train")


@pytest.mark.parametrize("pipeline", [None, "train"])
def test_where_nobody_knows_who_made_it_the_first_to_take_it_stands(
    database: Database, pipeline: str | None
) -> None:
    first = stored(database, 2, cached(a_mirror(1)))
    stored(database, 3, cached(a_mirror(1)))
    ((model,),) = pages(database, pipeline=pipeline, type="system.Model")
    assert model.run is not None
    assert model.run.run_id == first.run_id


@pytest.mark.parametrize("pipeline", [None, "train"])
def test_a_page_looks_at_a_window_and_its_cursor_goes_on(
    database: Database, monkeypatch: pytest.MonkeyPatch, pipeline: str | None
) -> None:
    for number in range(1, 5):
        trained(database, number)
    monkeypatch.setattr(artifacts, "WINDOW", 3)
    found = pages(database, pipeline=pipeline, text="artifacts/1/")
    assert uris(found) == ["file:///artifacts/1/train/model"]
    assert [len(page) for page in found][:2] == [0, 0]


def test_a_cursor_of_another_listing_is_refused(database: Database) -> None:
    for number in range(1, 3):
        trained(database, number)
    _, cursor = database.read(lambda s: list_artifacts(s, ArtifactFilter(), limit=1))
    assert cursor is not None
    for where, given in ((ArtifactFilter(pipeline="train"), cursor), (ArtifactFilter(), "x")):
        with pytest.raises(CursorError):
            database.read(lambda s, w=where, c=given: list_artifacts(s, w, cursor=c))
