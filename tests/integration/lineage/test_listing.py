"""Every way to a page of runs gives the same page: compared with a plain reading of a made-up history."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlmodel import Session

from bridge.domain.lineage import Run, RunError
from bridge.domain.states import RuntimeState
from bridge.lineage import entries, listing, paging, ways
from bridge.lineage.convert import run_from_row
from bridge.lineage.database import Database
from bridge.lineage.listing import list_runs
from bridge.lineage.records import MetricFilter, RunFilter, RunOrder
from bridge.lineage.runs import change_run
from bridge.lineage.tables import METRICS, RUNS
from bridge.lineage.words import words_in, words_of
from tests.bench.querying import LISTS
from tests.bench.querying import page as querying_page
from tests.bench.querying_plans import plan_of, statements_of
from tests.bench.seeding import seed
from tests.bench.seeding_rows import END, SPAN, History, dag_name, pipeline_name
from tests.support.lineage_samples import a_submission, submit
from tests.support.postgres import PostgresServer

RUNS_SEEDED = 150


class Seeded:
    """A database with a history, and all of it read once without any filter."""

    def __init__(self, url: str) -> None:
        seed(url, History(runs=RUNS_SEEDED, seed=7, layers=2, width=10))
        self.url = url
        self.database = Database(url)
        self.runs: list[Run] = self.database.read(
            lambda session: [run_from_row(row) for row in session.execute(select(RUNS)).mappings()]
        )
        rows = self.database.read(
            lambda session: session.execute(
                select(RUNS.c.run_id, METRICS.c.key, METRICS.c.value).join(
                    METRICS, METRICS.c.run == RUNS.c.id
                )
            ).all()
        )
        self.metrics = {(run_id, key): value for run_id, key, value in rows}

    def walked(self, where: RunFilter, order: RunOrder, limit: int) -> list[Run]:
        """All pages of a listing, one after the other."""
        found: list[Run] = []
        cursor = None
        while True:
            page, cursor = self.database.read(
                lambda session, cursor=cursor: list_runs(
                    session, where, order=order, cursor=cursor, limit=limit
                )
            )
            found += page
            if cursor is None:
                return found
            assert len(page) == limit


@pytest.fixture(
    scope="module", params=[pytest.param("sqlite"), pytest.param("postgresql", marks=pytest.mark.postgres)]
)
def seeded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seeded]:
    """The history on either database."""
    if request.param == "sqlite":
        folder: Path = tmp_path_factory.mktemp("listing")
        history = Seeded(f"sqlite:///{folder / 'seeded.db'}")
    else:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        history = Seeded(server.url(server.create_database()))
    yield history
    history.database.close()


AUC = "evaluate.auc"
Check = Callable[[Run], bool]
CASES: dict[str, tuple[RunFilter, Check]] = {
    "all": (RunFilter(), lambda run: True),
    "project": (RunFilter(projects=("fraud",)), lambda run: run.project == "fraud"),
    "projects": (
        RunFilter(projects=("fraud", "ads")),
        lambda run: run.project in ("fraud", "ads"),
    ),
    "state": (
        RunFilter(states=(RuntimeState.FAILED,)),
        lambda run: run.state is RuntimeState.FAILED,
    ),
    "project and state": (
        RunFilter(projects=("default",), states=(RuntimeState.FAILED, RuntimeState.CANCELED)),
        lambda run: run.project == "default" and run.state.value in ("FAILED", "CANCELED"),
    ),
    "pipeline and project": (
        RunFilter(pipeline=pipeline_name(1), projects=("pricing",)),
        lambda run: run.pipeline.name == pipeline_name(1) and run.project == "pricing",
    ),
    "dag": (RunFilter(dag_id=dag_name(2)), lambda run: run.origin.dag_id == dag_name(2)),
    "experiment": (
        RunFilter(experiment="risk-experiments"),
        lambda run: run.experiment == "risk-experiments",
    ),
    "team": (RunFilter(team="vision"), lambda run: run.origin.team == "vision"),
    "good": (RunFilter(good=True, projects=("ads",)), lambda run: run.is_good and run.project == "ads"),
    "label": (RunFilter(labels=(("tier", "gold"),)), lambda run: run.labels.get("tier") == "gold"),
    "labels": (
        RunFilter(labels=(("tier", "gold"), ("team", "risk"))),
        lambda run: run.labels.get("tier") == "gold" and run.labels["team"] == "risk",
    ),
    "text": (RunFilter(text="Churn SCO"), lambda run: run.pipeline.name.startswith("churn-sco")),
    "text of an error": (
        RunFilter(text="oomk"),
        lambda run: run.error is not None and "OOMKilled" in run.error.message,
    ),
    "time": (
        RunFilter(created_after=END - SPAN / 2, created_before=END - SPAN / 4),
        lambda run: END - SPAN / 2 <= run.created_at < END - SPAN / 4,
    ),
    "finished": (
        RunFilter(finished_after=END - SPAN / 2, finished_before=END - SPAN / 4),
        lambda run: run.finished_at is not None and END - SPAN / 2 <= run.finished_at < END - SPAN / 4,
    ),
}
ORDERS = (
    RunOrder(),
    RunOrder(descending=False),
    RunOrder(by="finished"),
    RunOrder(by="finished", descending=False),
    RunOrder(by="metric", metric=AUC),
    RunOrder(by="metric", metric=AUC, descending=False),
)
METRIC_CASES = [
    *[(MetricFilter(key=AUC, op=">=", value=value),) for value in (0.5, 0.75, 0.99, 2.0)],
    (MetricFilter(key=AUC, op="<", value=0.6),),
    (MetricFilter(key=AUC, op=">", value=0.6), MetricFilter(key="train.loss", op="<=", value=0.7)),
]


@pytest.fixture(params=[10, 1000], ids=["many rounds", "one round"])
def budget(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real budget such a small history is found in the first way that is tried."""
    monkeypatch.setattr(listing, "_FIRST_BUDGET", request.param)
    monkeypatch.setattr(ways, "_FIRST_MET", request.param // 4)
    monkeypatch.setattr(paging, "_MANY", request.param // 1000)
    monkeypatch.setattr(entries.Worded, "worth_asking", None)


@pytest.mark.usefixtures("budget")
@pytest.mark.parametrize("order", ORDERS[:4], ids=lambda order: f"{order.by}-{order.descending}")
def test_pages_hold_what_matches_in_order(seeded: Seeded, order: RunOrder) -> None:
    for name, (where, matches) in CASES.items():
        assert seeded.walked(where, order, 30) == expected(seeded, order, matches), name


@pytest.mark.usefixtures("budget")
@pytest.mark.parametrize("case", ["all", "pipeline and project", "state"])
@pytest.mark.parametrize(
    "order", [ORDERS[0], *ORDERS[4:]], ids=lambda order: f"{order.by}-{order.descending}"
)
def test_pages_of_metrics(seeded: Seeded, case: str, order: RunOrder) -> None:
    where, matches = CASES[case]
    compare = {">=": float.__ge__, ">": float.__gt__, "<": float.__lt__, "<=": float.__le__}
    for metrics in METRIC_CASES:

        def measures(run: Run, metrics: tuple[MetricFilter, ...] = metrics) -> bool:
            values = [seeded.metrics.get((run.run_id, one.key)) for one in metrics]
            return all(
                value is not None and compare[one.op](value, one.value)
                for value, one in zip(values, metrics, strict=True)
            )

        asked = replace(where, metrics=metrics)
        found = seeded.walked(asked, order, 30)
        assert found == expected(seeded, order, lambda run: matches(run) and measures(run)), metrics


def expected(seeded: Seeded, order: RunOrder, matches: Check) -> list[Run]:
    """The runs that match, in order."""

    def place(run: Run) -> object:
        if order.by == "metric":
            return seeded.metrics.get((run.run_id, order.metric))
        return run.created_at if order.by == "created" else run.finished_at

    found = [run for run in seeded.runs if matches(run) and place(run) is not None]
    return sorted(found, key=lambda run: (place(run), str(run.run_id)), reverse=order.descending)


@pytest.mark.usefixtures("budget")
@pytest.mark.parametrize(
    "where",
    [RunFilter(), RunFilter(text="flight")],
    ids=["all", "text"],
)
def test_runs_that_come_while_paging_neither_lose_nor_double_any(
    database: Database, where: RunFilter
) -> None:
    source = random.Random(5)

    def add(count: int) -> set[str]:
        def work(session):  # type: ignore[no-untyped-def]
            return {
                str(
                    submit(
                        session,
                        a_submission(created_at=END - timedelta(minutes=source.randrange(60))),
                    ).run_id
                )
                for _ in range(count)
            }

        return database.transact(work)

    before, seen, cursor = add(12), [], None
    while True:
        page, cursor = database.read(
            lambda session, cursor=cursor: list_runs(session, where, cursor=cursor, limit=4)
        )
        seen += [str(run.run_id) for run in page]
        if cursor is None:
            break
        add(3)
    assert len(seen) == len(set(seen))
    assert before <= set(seen)


def test_a_run_is_found_by_its_error_and_its_new_labels(database: Database) -> None:
    run = database.transact(submit)

    def found(**where: object) -> list[Run]:
        return database.read(lambda session: list_runs(session, RunFilter(**where))[0])  # type: ignore[arg-type]

    assert found(text="imagepull") == []
    error = RunError(message="ImagePullBackOff: registry refused é", task="train")
    database.transact(lambda session: change_run(session, run.run_id, error=error))
    changed = database.transact(lambda session: change_run(session, run.run_id, labels={"owner": "Ann"}))
    assert (
        found(text="ImagePull REFUSED") == found(text="é") == found(labels=(("owner", "Ann"),)) == [changed]
    )
    gone = database.transact(lambda session: change_run(session, run.run_id, error=None, labels={}))
    assert found(text="imagepull") == found(labels=(("owner", "Ann"),)) == []
    assert found(text="train flight") == [gone] or found(text="flight") == [gone]


@pytest.mark.usefixtures("budget")
@pytest.mark.parametrize(
    "text", ["train", "a", "tra zebra", "ch tr fa", "churn train", "2026 train"], ids=lambda text: text
)
def test_words_that_most_runs_have_and_words_that_none_has(
    seeded: Seeded, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def matches(run: Run) -> bool:
        words = words_of(run).split()
        return all(
            any(one == asked if asked.isdecimal() else one.startswith(asked) for one in words)
            for asked in text.split()
        )

    wanted = expected(seeded, RunOrder(), matches)
    for share, whole in ((0.0, 8), (0.2, 8), (1.0, 8), (1.0, 1), (1.0, 0)):
        monkeypatch.setattr(entries, "_TELLING_SHARE", share)
        monkeypatch.setattr(entries, "_MOST_WHOLE", whole)
        assert seeded.walked(RunFilter(text=text), RunOrder(), 30) == wanted


def test_the_index_of_words_is_asked_once_and_only_where_a_walk_would_be_long(
    seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_FIRST_BUDGET", 1)
    monkeypatch.setattr(entries.Worded, "worth_asking", 20)
    oldest = min(seeded.runs, key=lambda run: (run.created_at, str(run.run_id)))
    day = f"{oldest.created_at:%Y %m %d}"

    def asked(text: str) -> tuple[list[Run], int]:
        found: list[Run] = []

        def page(_: int) -> None:
            found.extend(seeded.database.read(lambda s: list_runs(s, RunFilter(text=text), limit=2))[0])

        sent = statements_of(seeded.database, page)
        return found, sum("FROM run_words" in statement for statement, _ in sent)

    newest = sorted(seeded.runs, key=lambda run: (run.created_at, str(run.run_id)), reverse=True)
    assert asked("train") == (newest[:2], 0)
    of_day = [run for run in newest if set(day.split()) <= set(words_of(run).split())]
    assert asked(day) == (of_day[:2], 1)
    assert asked("zebra") == ([], 1)


def test_runs_are_counted_by_the_words_that_tell_few(seeded: Seeded) -> None:
    def count(words: list[str], most: int, names: tuple[str, ...] = ()) -> tuple[int | None, int]:
        def read(session: Session) -> tuple[int | None, int]:
            worded = entries.Worded(session, words, names)
            return worded.count(most), len(worded.runs())

        return seeded.database.read(read)

    some = sum(any(word.startswith("oomk") for word in words_of(run).split()) for run in seeded.runs)
    assert some > 1
    assert count(["oomk"], 100) == count(["oomk", "train"], 100) == (some, some)
    assert count(["oomk"], some - 1) == (None, some)
    assert count(["oomkilled"], 100, ("zebra",)) == (0, 0)
    # Every run has it: the index would have to add all of them up.
    assert count(["train"], 100) == (None, 0)


def test_words_that_many_runs_have_each_and_few_have_together_are_counted_together(
    seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "_TELLING_SHARE", 1.0)
    having: dict[str, set[object]] = {}
    for run in seeded.runs:
        for word in words_of(run).split():
            having.setdefault(word, set()).add(run.run_id)
    # As beginnings these bring nothing else along.
    alone = [word for word in having if word.isalpha() and sum(one.startswith(word) for one in having) == 1]
    pairs = [
        (one, other)
        for one, other in combinations(sorted(alone), 2)
        if 0 < len(having[one] & having[other]) < min(len(having[one]), len(having[other]))
    ]
    assert len(pairs) > 2

    def count(words: tuple[str, str], most: int) -> int | None:
        return seeded.database.read(lambda session: entries.Worded(session, words).count(most))

    for one, other in pairs[:20]:
        both, least = len(having[one] & having[other]), min(len(having[one]), len(having[other]))
        counted = count((one, other), both)
        assert counted == both
        assert both <= (count((one, other), least) or 0) <= least
        assert count((one, other), both - 1) is None


def test_words_are_the_letters_and_digits_in_lower_case() -> None:
    assert list(words_in("Train_taxi-v2.ÄÖ (100 %) Straße")) == [
        "train",
        "taxi",
        "v2",
        "ao",
        "100",
        "strasse",
    ]
    assert list(words_in("x" * 100)) == ["x" * 64]
    assert list(words_in("\x00 % _ -")) == []


def test_each_word_of_a_run_is_kept_once(seeded: Seeded) -> None:
    for run in seeded.runs[:20]:
        words = words_of(run).split(" ")
        assert words[0] == ""
        assert len(words) == len(set(words)) > 4


@pytest.mark.parametrize("name", LISTS)
def test_no_query_reads_a_whole_table(seeded: Seeded, name: str) -> None:
    """With so few rows PostgreSQL rightly reads them all; asked not to, it must have an index to go by."""
    url = seeded.url
    if seeded.database.dialect == "postgresql":
        url += "&options=-cenable_seqscan%3Doff"
    database = Database(url, pool_size=1)
    statements = statements_of(database, lambda _: querying_page(database, LISTS[name], None))
    assert statements
    for statement in statements:
        plan = "\n".join(plan_of(database, statement))
        assert not re.search(r"Seq Scan on|SCAN (runs|metrics|run_labels)\b(?! USING)", plan), plan
    database.close()


def test_each_kind_of_query_goes_by_the_index_that_is_there_for_it(
    seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_FIRST_BUDGET", 1)
    monkeypatch.setattr(entries.Worded, "worth_asking", None)
    indexes = {
        "newest": "ix_runs_created",
        "in a project": "ix_runs_project_created",
        "failed in a small project": "ix_runs_project_state_created",
        "of a pipeline": "ix_runs_pipeline_created",
        "of a DAG": "ix_runs_dag_created",
        "of an experiment": "ix_runs_experiment_created",
        "label": "ix_run_labels_newest",
        "metric, half of all runs": "ix_metrics_value",
        "best by a metric": "ix_metrics_value",
        "text, 1 in 2,000": "run_words",
    }
    url = seeded.url
    if seeded.database.dialect == "postgresql":
        url += "&options=-cenable_seqscan%3Doff%20-cenable_sort%3Doff%20-cenable_bitmapscan%3Don"
    database = Database(url, pool_size=1)
    asked = [(LISTS[name], index) for name, index in indexes.items()]
    for parameters, index in [*asked, ({"sort": "-finished"}, "ix_runs_finished")]:
        statements = statements_of(database, lambda _, given=parameters: querying_page(database, given, None))
        plans = "\n".join(line for one in statements for line in plan_of(database, one))
        assert index in plans, (parameters, plans)
    database.close()
