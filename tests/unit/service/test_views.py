from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from bridge.client.models import ArtifactModel, ArtifactUseModel, MetricModel, TaskModel
from bridge.service import views

NOON = datetime(2026, 8, 1, 12, tzinfo=UTC)
RUN = UUID(int=1)


def task(
    path: str, parent: str | None = "", *, begin: int | None = 0, end: int | None = 10, **more: str
) -> TaskModel:
    def at(seconds: int | None) -> datetime | None:
        return None if seconds is None else NOON + timedelta(seconds=seconds)

    return TaskModel(
        task_id=path,
        name=path.rpartition(".")[2],
        path=path,
        parent_task_id=parent,
        state=more.get("state", "SUCCEEDED"),
        started_at=at(begin),
        finished_at=at(end),
    )


def artifact(number: int, uri: str, *uses: tuple[str, str]) -> ArtifactModel:
    told = [
        ArtifactUseModel.model_validate({"run_id": RUN, "task_path": path, "key": "model", "direction": way})
        for path, way in uses
    ]
    return ArtifactModel(artifact_id=UUID(int=number), type="system.Model", uri=uri, uses=told)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "< 1 s"),
        (0.04, "< 1 s"),
        (0.1, "0.1 s"),
        (9.94, "9.9 s"),
        (18, "18 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3660, "1 h 1 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_length_of_time_in_words(seconds: float, words: str) -> None:
    assert views.span(timedelta(seconds=seconds)) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "just now"), (59, "just now"), (60, "1 min ago"), (7300, "2 h ago"), (200_000, "2 d ago")],
)
def test_how_long_ago(seconds: int, words: str) -> None:
    assert views.ago(NOON - timedelta(seconds=seconds), NOON) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.7557921, "0.755792"),
        (4334.0, "4,334"),
        (-2.0, "-2"),
        (1e20, "1e+20"),
        (0.0, "0"),
        (float("inf"), "inf"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert views.number(value) == text


def test_states_are_words() -> None:
    assert views.word("SUCCEEDED") == "Succeeded"
    assert views.word("RUNTIME_STATE_UNSPECIFIED") == "Unspecified"


def test_text_cannot_turn_its_direction() -> None:
    assert views.plain("a\u202etxt.exe\u2066b") == "a\ufffdtxt.exe\ufffdb"
    assert views.plain("ליל טוב") == "ליל טוב"
    assert views.plain(7) == 7


def test_tasks_become_a_tree_with_bars() -> None:
    tasks = [
        task("", None, end=20),
        task("train", begin=10, end=20),
        task("loop.one", "loop", end=5),
        task("loop"),
        task("report", begin=None, end=None, state="PENDING"),
        task("lost", "a task that was never told"),
    ]
    rows = views.task_rows(tasks, NOON)
    assert [(row.label, row.depth) for row in rows] == [
        ("train", 0),
        ("loop", 0),
        ("one", 1),
        ("report", 0),
        ("lost", 0),
    ]
    bars = {row.label: (row.start, row.width) for row in rows}
    assert bars["train"] == (50.0, 50.0)
    assert bars["one"] == (0.0, 25.0)
    assert bars["report"] == (None, None)


def test_a_task_goes_on_until_its_end_is_told() -> None:
    now = NOON + timedelta(seconds=30)
    going, ended = views.task_rows(
        [task("going", None, end=None, state="RUNNING"), task("ended", None, end=None, state="FAILED")], now
    )
    assert (going.took, going.width) == ("30 s", 100.0)
    assert ended.took == ""


def test_the_tree_survives_a_circle_and_has_a_deepest_indent() -> None:
    chain = [task(".".join("abcdefghij"[: n + 1]), ".".join("abcdefghij"[:n]) or None) for n in range(10)]
    rows = views.task_rows([*chain, task("self", "self")], NOON)
    assert [row.depth for row in rows] == [0, 1, 2, 3, 4, 5, 6, 6, 6, 6, 0]


def test_metrics_stand_by_task_at_their_last_step() -> None:
    def metric(path: str, name: str, value: float, step: int = 0) -> MetricModel:
        return MetricModel(key=f"{path}.{name}", task_path=path, name=name, value=value, step=step)

    many = [metric("check", f"m{number}", number) for number in range(13)]
    logged = [metric("train", "loss", 0.2, 2), metric("train", "loss", 0.9, 1), metric("train", "auc", 0.7)]
    train, check = views.metric_groups([*many, *logged])
    assert (train.task_path, train.few, check.few) == ("train", True, False)
    assert [(one.name, one.value, one.step, one.steps) for one in train.metrics] == [
        ("auc", 0.7, 0, 1),
        ("loss", 0.2, 2, 2),
    ]


def test_artifacts_are_told_once_where_they_were_made() -> None:
    rows = views.artifact_rows(
        [
            artifact(1, "file:///in", ("import", "OUTPUT")),
            artifact(2, "file:///read", ("train", "INPUT"), ("report", "INPUT")),
            artifact(3, "file:///made", ("", "OUTPUT"), ("nest.train", "OUTPUT"), ("nest", "OUTPUT")),
        ],
        {"file:///in"},
    )
    assert [(row.artifact_id.int, row.task_path, row.direction) for row in rows] == [
        (3, "nest.train", "OUTPUT"),
        (2, "train", "INPUT"),
    ]


def test_images_and_packages_meet_by_component() -> None:
    rows = views.environment_rows({"exec-train": "python:3.11"}, {"comp-train": ["numpy"], "comp-say": []})
    assert [(row.name, row.image, list(row.packages)) for row in rows] == [
        ("say", "", []),
        ("train", "python:3.11", ["numpy"]),
    ]
