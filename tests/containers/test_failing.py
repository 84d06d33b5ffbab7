"""What is said of tasks that fail in their containers, and what ends them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.domain.states import RuntimeState
from bridge.local.container_engine import EngineError, find_engine
from tests.containers.conftest import one
from tests.containers.engine import RealEngine
from tests.unit.local.conftest import Driver

FAILED = RuntimeState.FAILED
_PATIENCE_SECONDS = 20.0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("container", "sentence"),
    [
        (
            {"command": ["sh", "-c", "echo woe >&2; exit 3"]},
            "The component exited with 3. Its last line: woe",
        ),
        # What the engine itself answers with when it fails is still the component's own word here.
        ({"command": ["sh", "-c", "exit 125"]}, "The component exited with 125."),
        (
            {"command": ["no-such-program"]},
            'The container of alpine could not be started: * "no-such-program": executable file not found *',
        ),
        ({"image": "no-such-image:1", "command": ["true"]}, "ImagePull: the image no-such-image:1 *"),
        (
            {"command": ["true"], "resources": {"resourceCpuLimit": "plenty"}},
            "The container cannot be made as asked for: 'plenty' is no quantity such as 500m, 2 or 1Gi.",
        ),
    ],
)
async def test_why_a_task_failed(
    driver: Driver, engine: RealEngine, container: dict[str, Any], sentence: str
) -> None:
    outcome = await driver.execute(one(more=container))
    assert outcome.state is FAILED
    message = str(driver.recorder.ends["work"].message)
    parts = [part for part in sentence.split("*") if part]
    assert message.startswith(parts[0])
    assert all(part in message for part in parts)
    assert engine.containers() == []


async def test_more_memory_than_allowed(driver: Driver) -> None:
    taking = {
        "command": ["python3", "-c", "kept = bytearray(512 << 20); print(len(kept))"],
        "resources": {"resourceMemoryLimit": "64Mi", "resourceCpuLimit": "64"},
    }
    outcome = await driver.execute(one(more=taking))
    assert outcome.state is FAILED
    end = driver.recorder.ends["work"]
    # Podman is not told by every kernel that it was the memory.
    assert end.message in (
        "OOMKilled: the component took more memory than its limit of 64 MiB.",
        "OOMKilled, it seems: the component was killed, and its memory limit is 64 MiB.",
    )
    assert end.exit_code == 137
    assert "The component may have 64 CPUs; this machine has" in driver.log("work")


@pytest.mark.parametrize(
    "script",
    [
        # It ends when asked to; it hears nothing of it; all its processes are deaf.
        "trap 'exit 0' TERM; touch $0; while :; do sleep 0.1; done",
        "touch $0; sleep 600",
        "trap '' TERM; (trap '' TERM; sleep 600) & touch $0; wait; sleep 600",
    ],
)
async def test_a_cancel_ends_the_container_within_two_seconds(
    driver: Driver, engine: RealEngine, script: str
) -> None:
    executor = driver.executor(one(script, more={"args": ["{{$.workspace_path}}/up"]}))
    execution = asyncio.create_task(executor.execute())
    up = executor.run.data_dir / "runs" / str(executor.run.kfp_run_id) / "workspace" / "up"
    await until(up.exists)
    asked = time.monotonic()
    executor.cancel()
    outcome = await execution
    assert time.monotonic() - asked < 2.0
    assert outcome.state is RuntimeState.CANCELED
    assert engine.containers() == []


@pytest.mark.parametrize("moment", ["created", "started"])
async def test_a_cancel_at_any_moment_leaves_no_container(
    driver: Driver, engine: RealEngine, moment: str
) -> None:
    executor = driver.executor(one("sleep 600"))
    execution = asyncio.create_task(executor.execute())
    if moment == "started":
        await until(lambda: bool(engine.containers()))
    else:
        await until(lambda: "work" in driver.recorder.starts)
    executor.cancel()
    assert (await execution).state is RuntimeState.CANCELED
    assert engine.containers() == []


async def test_an_engine_that_is_not_there_is_named() -> None:
    with pytest.raises(EngineError, match="no container engine can be used: no-such-engine is not installed"):
        await find_engine("no-such-engine")


async def test_an_engine_that_does_not_answer_is_named(
    engine: RealEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    if engine.program.endswith("docker"):
        with pytest.raises(EngineError, match="docker does not answer"):
            await find_engine(engine.program)
