"""Retry policies: when the next attempt begins, when there is none, and whose policy counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.domain.states import RuntimeState
from bridge.local.driver_retry import RetriesOver, inherited, pause_before_next
from bridge.spec.model import Retry
from tests.support.handmade import component, pipeline, sh, task
from tests.unit.local.conftest import Driver


def policy(count: int, pause: str = "0s", factor: float = 2.0, most: str = "3600s") -> dict[str, Any]:
    told = {"maxRetryCount": count, "backoffDuration": pause, "backoffFactor": factor}
    return {"retryPolicy": told | {"backoffMaxDuration": most}}


@pytest.mark.parametrize(
    ("retry", "failures", "elapsed", "pause"),
    [
        (Retry(max_count=3, backoff_seconds=60), 1, 5.0, 60.0),
        (Retry(max_count=3, backoff_seconds=60), 2, 70.0, 120.0),
        (Retry(max_count=3, backoff_seconds=60, backoff_factor=1.5), 3, 200.0, 135.0),
        (Retry(max_count=3), 3, 3599.0, 0.0),
        (Retry(max_count=1, backoff_seconds=10, backoff_max_seconds=30), 1, 20.0, 10.0),
    ],
)
def test_the_pause_grows_by_its_factor(retry: Retry, failures: int, elapsed: float, pause: float) -> None:
    assert pause_before_next(retry, failures, elapsed) == pause


@pytest.mark.parametrize(
    ("retry", "failures", "elapsed", "sentence"),
    [
        (Retry(max_count=0), 1, 0.0, ""),
        (Retry(max_count=2), 3, 0.0, ""),
        # No attempt begins later than the limit after the first: not a limit of the single pause.
        (Retry(max_count=9, backoff_seconds=10, backoff_max_seconds=30), 1, 21.0, "later than 30 s"),
        (Retry(max_count=5000, backoff_seconds=1, backoff_factor=10), 4000, 5.0, "later than 3600 s"),
    ],
)
def test_there_is_no_next_attempt(retry: Retry, failures: int, elapsed: float, sentence: str) -> None:
    with pytest.raises(RetriesOver) as raised:
        pause_before_next(retry, failures, elapsed)
    assert sentence in str(raised.value)


def test_a_task_without_a_policy_has_that_of_the_dag_around_it() -> None:
    own, outer = Retry(max_count=0), Retry(max_count=5)
    assert inherited(own, outer) is own
    assert inherited(None, outer) is outer
    assert inherited(None, None) is None


def fails_until(attempt: int, counter: Path) -> dict[str, Any]:
    return sh('echo x >> "$0"; [ $(wc -l < "$0") -ge "$1" ]', str(counter), str(attempt))


async def test_a_nested_pipelines_policy_is_that_of_its_tasks_that_have_none(
    driver: Driver, tmp_path: Path
) -> None:
    executors = {name: fails_until(3, tmp_path / name) for name in ("plain", "own", "deep")}
    components = {
        **{name: component(executorLabel=name) for name in executors},
        "inner": component(dag={"tasks": {"deep": task("deep", "deep")}}),
        "outer": component(
            dag={
                "tasks": {
                    "plain": task("plain", "plain"),
                    "own": task("own", "own", **policy(1)),
                    "inner": task("inner", "inner"),
                }
            }
        ),
    }
    outcome = await driver.execute(pipeline([task("outer", "outer", **policy(2))], components, executors))
    assert outcome.failed_tasks == ("outer.own",)
    attempts = {path: len(starts) for path, starts in driver.recorder.starts.items()}
    assert attempts == {
        "": 1,
        "outer": 1,
        "outer.plain": 3,
        "outer.own": 2,
        "outer.inner": 1,
        "outer.inner.deep": 3,
    }


async def test_each_iteration_of_a_loop_has_its_own_tries(driver: Driver, tmp_path: Path) -> None:
    flaky = sh(
        'echo x >> "$0-$1"; [ $(wc -l < "$0-$1") -ge 2 ]',
        str(tmp_path / "tries"),
        "{{$.inputs.parameters['item']}}",
    )
    given = {"inputDefinitions": {"parameters": {"item": {"parameterType": "STRING"}}}}
    body = {"flaky": task("flaky", "flaky", parameters={"item": {"componentInputParameter": "item"}})}
    loop = task(
        "loop",
        "body",
        parameterIterator={"itemInput": "item", "items": {"raw": '["a", "b"]'}},
        **policy(1),
    )
    made = pipeline(
        [loop],
        {"body": {**given, "dag": {"tasks": body}}, "flaky": {**given, "executorLabel": "flaky"}},
        {"flaky": flaky},
    )
    assert (await driver.execute(made)).state is RuntimeState.SUCCEEDED
    assert len(driver.recorder.starts["loop[0].flaky"]) == 2
    assert len(driver.recorder.starts["loop[1].flaky"]) == 2


async def test_pauses_are_kept_and_the_last_failure_says_why_no_more_follow(driver: Driver) -> None:
    made = pipeline(
        [task("bad", "bad", **policy(9, "0.05s", 4.0, "0.5s"))],
        {"bad": component(executorLabel="bad")},
        {"bad": sh("exit 3")},
    )
    outcome = await driver.execute(made)
    assert outcome.message is not None
    assert (
        "exited with 3. It is not tried again: the next attempt would begin later than 0.5 s"
        in outcome.message
    )
    starts = [start.started_at for start in driver.recorder.starts["bad"]]
    # Pauses of 0.05 s and 0.2 s; the third, 0.8 s, is beyond the limit.
    assert len(starts) == 3
    assert (starts[1] - starts[0]).total_seconds() >= 0.05
    assert (starts[2] - starts[1]).total_seconds() >= 0.2
