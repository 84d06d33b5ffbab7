"""All rows at once: random interleavings of callers, workers, crashes, faults and the backend's doings.

One example is one history of two processes on one database, step by step (``tests/faults/simulated``). What
held is checked after each step, and at the end, when everything was allowed to come to rest. A failure is
printed as the steps that lead to it. ``HYPOTHESIS_PROFILE=long`` goes on for longer: docs/developing.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test as play

from bridge.lineage.database import Database
from tests.faults.simulated.clock import prepare_postgresql
from tests.faults.simulated.databases import Databases
from tests.faults.simulated.machine import FAULTS, PAUSES, Interleavings
from tests.support.postgres import PostgresServer

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"


def _settings(examples: int) -> settings:
    return settings(
        max_examples=examples * 100 if LONG else examples,
        stateful_step_count=120 if LONG else 50,
        deadline=None,
        derandomize=not LONG,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )


@pytest.fixture(scope="module")
def sqlite_databases(tmp_path_factory: pytest.TempPathFactory) -> Databases:
    """Copies of a migrated file."""
    folder = tmp_path_factory.mktemp("interleavings")
    empty = folder / "empty.db"
    database = Database(f"sqlite:///{empty}")
    database.migrate()
    database.close()
    return Databases(folder, empty=empty)


@pytest.fixture(scope="module")
def postgresql_databases(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Databases]:
    """Copies of a migrated database."""
    name = postgres_server.create_database()
    database = Database(postgres_server.url(name))
    database.migrate()
    database.close()
    prepare_postgresql(postgres_server.url(name), name)
    yield Databases(tmp_path_factory.mktemp("interleavings"), server=postgres_server, template=name)
    postgres_server.drop_database(name)


@pytest.mark.timeout(0 if LONG else 900)
def test_any_interleaving_on_sqlite(sqlite_databases: Databases) -> None:
    Interleavings.databases = sqlite_databases
    play(Interleavings, settings=_settings(80))


@pytest.mark.postgres
@pytest.mark.timeout(0 if LONG else 900)
def test_any_interleaving_on_postgresql(postgresql_databases: Databases) -> None:
    Interleavings.databases = postgresql_databases
    play(Interleavings, settings=_settings(12))


@pytest.fixture
def history(sqlite_databases: Databases) -> Iterator[Interleavings]:
    """A history that a test writes down; at its end everything comes to rest and is checked."""
    Interleavings.databases = sqlite_databases
    played = Interleavings()
    yield played
    played.holds()
    played.teardown()


# What random histories meet seldom is met each time: every step of a submission, and what can befall it.
every_step = pytest.mark.parametrize("steps", range(1, 9))


@every_step
def test_a_worker_may_freeze_at_any_step_of_a_submission(history: Interleavings, steps: int) -> None:
    history.start(seed=0, sent=False)
    history.freeze("submit", 0, steps, PAUSES[-1])


@every_step
def test_a_worker_may_die_at_any_step_of_a_submission(history: Interleavings, steps: int) -> None:
    history.start(seed=0, sent=False)
    history.begin("submit", 0, steps, "ok")
    history.crash(0)
    history.holds()
    history.wait(PAUSES[-1])
    history.work_all(1)


@pytest.mark.parametrize("fault", sorted(set(FAULTS)))
def test_anything_may_befall_a_post(history: Interleavings, fault: str) -> None:
    history.start(seed=0, sent=False)
    while not any(one.what == "POST /apis/v2beta1/runs" for one in history.world.pending):
        history.begin("submit", 0, 1, "ok")
    history.go_on(0, 4, fault)
    for pause in PAUSES[1:]:
        history.work_all(1)
        history.holds()
        history.wait(pause)
    history.at_backend(0, "late", 0.0)
    history.work_all(1)


@pytest.mark.parametrize("steps", range(1, 6))
def test_a_run_may_end_anew_at_any_step_of_its_mirror(history: Interleavings, steps: int) -> None:
    history.start(seed=0, sent=True)
    history.at_backend(0, "progress", 0.0)
    history.at_backend(0, "fail", 300.0)
    history.work("track", 0)
    history.begin("mirror", 0, steps, "ok")
    history.at_backend(0, "retry", 0.0)
    history.at_backend(0, "progress", 0.0)
    if steps % 2:
        history.work("track", 1)
    history.at_backend(0, "succeed", 0.0)
    history.work("track", 1)
    history.finish(0)


@pytest.mark.parametrize("on_clear", ["cancel_then_new", "adopt", "detach"])
def test_a_cleared_task_asks_while_its_run_is_alive(history: Interleavings, on_clear: str) -> None:
    history.start(seed=0, sent=True)
    history.ask(0, 1, "clear", "new_run", on_clear, True)
    history.work_all(1)
    history.holds()
    history.ask(0, 0, "zombie", "new_run", on_clear, True)
    history.at_backend(0, "succeed", 0.0)
    history.work_all(0)


def test_a_later_try_asks_after_a_failure_and_an_earlier_one_wakes(history: Interleavings) -> None:
    history.start(seed=0, sent=True)
    history.at_backend(0, "fail", 0.0)
    history.work_all(0)
    history.ask(0, 1, "retry", "new_run", "adopt", True)
    history.ask(0, 0, "zombie", "new_run", "adopt", True)
    history.ask(0, 0, "another body", "new_run", "adopt", True)
    history.work_all(1)


def test_a_deleted_run_is_lost_and_its_task_may_ask_again(history: Interleavings) -> None:
    history.start(seed=0, sent=True)
    history.at_backend(0, "delete", 0.0)
    history.work_all(0)
    history.holds()
    history.ask(0, 1, "retry", "new_run", "adopt", True)


def test_an_adopted_run_fails_and_its_task_asks_again(history: Interleavings) -> None:
    history.start(seed=0, sent=True)
    history.ask(0, 1, "clear", "new_run", "adopt", True)
    history.at_backend(0, "fail", 0.0)
    history.work_all(0)
    history.ask(0, 1, "retry", "new_run", "adopt", True)


def test_a_cleared_task_adopts_a_run_that_is_then_given_up(history: Interleavings) -> None:
    history.start(seed=0, sent=False)
    while not any(one.what == "POST /apis/v2beta1/runs" for one in history.world.pending):
        history.begin("submit", 0, 1, "ok")
    history.go_on(0, 4, "vanishes")
    history.ask(0, 1, "clear", "new_run", "adopt", True)
    for pause in PAUSES[1:]:
        history.wait(pause)
        history.work_all(1)
