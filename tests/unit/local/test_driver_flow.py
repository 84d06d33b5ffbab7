"""When tasks run: order, real parallelism, conditions, OneOf, failures, exit handlers, retries."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bridge.domain.states import RuntimeState
from tests.support.handmade import (
    component,
    constant,
    from_input,
    from_task,
    parameters,
    pipeline,
    selected,
    sh,
    task,
)
from tests.unit.local.conftest import Driver

PLAIN = {
    "ok": component(executorLabel="ok"),
    "bad": component(executorLabel="bad"),
}
EXECUTORS = {"ok": sh("echo fine"), "bad": sh("echo going wrong; exit 3")}
COMPLETED = {"triggerPolicy": {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}}


def when(condition: str) -> dict[str, Any]:
    return {"triggerPolicy": {"condition": condition}}


async def test_siblings_run_at_the_same_time(driver: Driver, tmp_path: Path) -> None:
    # Each waits for the other's file: one after the other they would wait for ever.
    script = 'touch "$0/$1"; while ! [ -e "$0/$2" ]; do sleep 0.01; done'
    executors = {"a": sh(script, str(tmp_path), "a", "b"), "b": sh(script, str(tmp_path), "b", "a")}
    components = {name: component(executorLabel=name) for name in executors}
    async with asyncio.timeout(20):
        outcome = await driver.execute(pipeline([task("a", "a"), task("b", "b")], components, executors))
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message


async def test_no_more_run_at_once_than_there_are_slots(driver: Driver, tmp_path: Path) -> None:
    driver.slots = asyncio.Semaphore(1)
    # mkdir fails if another holds the place.
    alone = sh('mkdir "$0" && sleep 0.02 && rmdir "$0"', str(tmp_path / "held"))
    tasks = [task(f"t{number}", "alone") for number in range(4)]
    outcome = await driver.execute(
        pipeline(tasks, {"alone": component(executorLabel="alone")}, {"alone": alone})
    )
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message


async def test_a_parent_is_created_first_and_finished_last(driver: Driver) -> None:
    components = {**PLAIN, "inner": component(dag={"tasks": {"ok": task("ok", "ok")}})}
    await driver.execute(pipeline([task("inner", "inner")], components, EXECUTORS))
    assert driver.recorder.order == [
        ("created", ""),
        ("started", ""),
        ("created", "inner"),
        ("started", "inner"),
        ("created", "inner.ok"),
        ("started", "inner.ok"),
        ("finished", "inner.ok"),
        ("finished", "inner"),
        ("finished", ""),
    ]


async def test_a_failure_on_a_full_disk_says_so(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(total=1 << 30, free=512))
    outcome = await driver.execute(pipeline([task("bad", "bad")], PLAIN, EXECUTORS))
    assert outcome.state is RuntimeState.FAILED
    assert outcome.message is not None
    assert outcome.message.endswith(" is full.")


async def test_what_depends_on_a_failure_does_not_run_and_what_does_not_does(driver: Driver) -> None:
    outcome = await driver.execute(
        pipeline(
            [
                task("bad", "bad"),
                task("after-bad", "ok", "bad"),
                task("last", "ok", "after-bad"),
                task("other", "ok"),
                task("after-other", "ok", "other"),
            ],
            PLAIN,
            EXECUTORS,
        )
    )
    assert outcome.state is RuntimeState.FAILED
    assert outcome.failed_tasks == ("bad",)
    assert outcome.message == "The task bad failed: The component exited with 3. Its last line: going wrong"
    assert driver.recorder.states() == {
        "bad": "FAILED",
        "after-bad": "SKIPPED",
        "last": "SKIPPED",
        "other": "SUCCEEDED",
        "after-other": "SUCCEEDED",
    }
    assert driver.recorder.ends["bad"].exit_code == 3
    assert driver.recorder.ends["after-bad"].message == "Not run: the upstream task bad failed."
    assert driver.log("bad") == "going wrong\n"
    assert "after-bad" not in driver.recorder.starts


@pytest.mark.parametrize(("side", "taken", "left"), [("heads", "yes", "no"), ("tails", "no", "yes")])
async def test_if_else_with_one_of(driver: Driver, side: str, taken: str, left: str) -> None:
    say = component(inputs=parameters(word="str"), outputs=parameters(Output="str"), executorLabel="say")
    executors = {
        "say": sh(
            'printf "%s" "$0" > "$1"',
            "{{$.inputs.parameters['word']}}",
            "{{$.outputs.parameters['Output'].output_file}}",
        )
    }
    is_heads = "inputs.parameter_values['side'] == 'heads'"

    def branch(word: str) -> dict[str, Any]:
        dag = {"tasks": {"say": task("say", "say", parameters={"word": constant(word)})}}
        dag["outputs"] = {"parameters": {"said": selected(("say", "Output"))}}
        return component(inputs=parameters(side="str"), outputs=parameters(said="str"), dag=dag)

    given = {"side": from_input("side")}
    branches = {
        "tasks": {
            "yes": task("yes", "branch-yes", parameters=given, **when(is_heads)),
            "no": task("no", "branch-no", parameters=given, **when(f"!({is_heads})")),
        },
        "outputs": {"parameters": {"oneof": selected(("yes", "said"), ("no", "said"))}},
    }
    components = {
        "say": say,
        "branch-yes": branch("yes"),
        "branch-no": branch("no"),
        "branches": component(inputs=parameters(side="str"), outputs=parameters(oneof="str"), dag=branches),
    }
    outcome = await driver.execute(
        pipeline(
            [
                task("branches", "branches", parameters=given),
                task("echo", "say", parameters={"word": from_task("branches", "oneof")}),
            ],
            components,
            executors,
            inputs=parameters(side="str"),
        ),
        parameters={"side": side},
    )
    assert outcome.state is RuntimeState.SUCCEEDED, outcome.message
    assert driver.recorder.result("echo").parameters == {"Output": taken}
    assert driver.recorder.states()[f"branches.{left}"] == "SKIPPED"
    assert str(driver.recorder.ends[f"branches.{left}"].message).startswith("The condition is false:")


async def test_a_condition_that_cannot_be_evaluated_fails_its_task(driver: Driver) -> None:
    outcome = await driver.execute(
        pipeline([task("ok", "ok", **when("inputs.parameter_values['nowhere'] == 1"))], PLAIN, EXECUTORS)
    )
    assert outcome.failed_tasks == ("ok",)
    assert "cannot be evaluated" in str(outcome.message)


async def test_what_depends_on_a_skipped_task_is_skipped_and_the_run_succeeds(driver: Driver) -> None:
    never = when("1.0 == 2.0")
    outcome = await driver.execute(
        pipeline([task("never", "ok", **never), task("after", "ok", "never")], PLAIN, EXECUTORS)
    )
    assert outcome.state is RuntimeState.SUCCEEDED
    assert driver.recorder.states() == {"never": "SKIPPED", "after": "SKIPPED"}


@pytest.mark.parametrize(("body", "state"), [("ok", "COMPLETE"), ("bad", "FAILED")])
async def test_an_exit_handler_runs_in_any_case_and_hears_how_it_ended(
    driver: Driver, body: str, state: str
) -> None:
    components = {
        **PLAIN,
        "body": component(dag={"tasks": {"work": task("work", body)}}),
        "tell": component(
            inputs=parameters(status="status"), outputs=parameters(Output="dict"), executorLabel="tell"
        ),
    }
    tell = sh(
        'printf "%s" "$0" > "$1"',
        "{{$.inputs.parameters['status']}}",
        "{{$.outputs.parameters['Output'].output_file}}",
    )
    status = {"status": {"taskFinalStatus": {"producerTask": "exit-handler-1"}}}
    outcome = await driver.execute(
        pipeline(
            [
                task("exit-handler-1", "body"),
                task("tell", "tell", "exit-handler-1", parameters=status, **COMPLETED),
            ],
            components,
            {**EXECUTORS, "tell": tell},
            name="with-exit",
        )
    )
    told = driver.recorder.result("tell").parameters["Output"]
    assert told["state"] == state
    assert told["pipelineTaskName"] == "exit-handler-1"
    assert "with-exit" in told["pipelineJobResourceName"]
    assert ("message" in told["error"]) == (body == "bad")
    # The handler's success does not make up for the failure.
    assert outcome.state is (RuntimeState.SUCCEEDED if body == "ok" else RuntimeState.FAILED)


async def test_ignore_upstream_failure_uses_the_default_for_what_is_not_there(driver: Driver) -> None:
    components = {
        "bad": component(outputs=parameters(Output="str"), executorLabel="bad"),
        "clean": component(
            inputs=parameters(text='str="nothing"'), outputs=parameters(Output="str"), executorLabel="clean"
        ),
    }
    clean = sh(
        'printf "%s" "$0" > "$1"',
        "{{$.inputs.parameters['text']}}",
        "{{$.outputs.parameters['Output'].output_file}}",
    )
    outcome = await driver.execute(
        pipeline(
            [task("bad", "bad"), task("clean", "clean", parameters={"text": from_task("bad")}, **COMPLETED)],
            components,
            {**EXECUTORS, "clean": clean},
        )
    )
    assert outcome.failed_tasks == ("bad",)
    assert driver.recorder.result("clean").parameters == {"Output": "nothing"}


@pytest.mark.parametrize(("allowed", "state"), [(1, "FAILED"), (2, "SUCCEEDED")])
async def test_retries(driver: Driver, tmp_path: Path, allowed: int, state: str) -> None:
    flaky = sh('echo x >> "$0"; [ $(wc -l < "$0") -ge 3 ]', str(tmp_path / "tries"))
    policy = {"retryPolicy": {"maxRetryCount": allowed, "backoffDuration": "0s", "backoffFactor": 2.0}}
    outcome = await driver.execute(
        pipeline(
            [task("flaky", "flaky", **policy)], {"flaky": component(executorLabel="flaky")}, {"flaky": flaky}
        )
    )
    assert outcome.state == state
    starts = driver.recorder.starts["flaky"]
    assert [start.attempt for start in starts] == list(range(allowed + 1))
    assert len(set(driver.recorder.pods())) == allowed + 1


async def test_a_retried_run_keeps_what_it_had_finished(driver: Driver, tmp_path: Path) -> None:
    marker = tmp_path / "repaired"
    components = {
        "first": component(outputs=parameters(Output="str"), executorLabel="first"),
        "second": component(inputs=parameters(text="str"), executorLabel="second"),
    }
    executors = {
        "first": sh('printf "kept" > "$0"', "{{$.outputs.parameters['Output'].output_file}}"),
        "second": sh('test -e "$0"', str(marker)),
    }
    made = pipeline(
        [task("first", "first"), task("second", "second", parameters={"text": from_task("first")})],
        components,
        executors,
    )
    executor = driver.executor(made)
    assert (await executor.execute()).failed_tasks == ("second",)
    marker.touch()
    again = await driver.execute(
        made,
        kfp_run_id=executor.run.kfp_run_id,
        retry=1,
        finished={"first": driver.recorder.result("first")},
    )
    assert again.state is RuntimeState.SUCCEEDED, again.message
    assert len(driver.recorder.starts["first"]) == 1
    assert len(set(driver.recorder.pods())) == 3


async def test_a_root_that_is_not_on_this_machine_fails_the_run(driver: Driver) -> None:
    made = pipeline([task("ok", "ok")], PLAIN, EXECUTORS)
    outcome = await driver.execute(made, pipeline_root="s3://bucket/root")
    assert outcome.state is RuntimeState.FAILED
    assert "s3://bucket/root is not on this machine" in str(outcome.message)
    assert driver.recorder.created == {}


async def test_a_recorder_that_fails_ends_the_run_as_failed(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    async def refuse(start: object) -> None:
        raise OSError("the disk is full")

    driver.recorder.task_started = refuse  # type: ignore[method-assign]
    outcome = await driver.execute(pipeline([task("ok", "ok")], PLAIN, EXECUTORS))
    assert outcome.state is RuntimeState.FAILED
    assert "the disk is full" in str(outcome.message)
    assert "broke off" in caplog.text
