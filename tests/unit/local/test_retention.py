"""What is removed to keep the disk use within its limits, and what never is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.local.launcher import Launch
from bridge.local.retention import Limits, Retention, beyond, remove_unused_environments, size_of
from bridge.local.settings import LocalSettings
from bridge.local.store_retention import KeptRun
from tests.support.handmade import artifacts, component, document, task
from tests.support.local_app import API, LocalApp, PretendRunner, local_app

DAY = 86400


@dataclass
class WritingRunner(PretendRunner):
    """Writes a kilobyte into every output artifact."""

    async def run(self, launch: Launch) -> int:
        for found in launch.executor_input["outputs"]["artifacts"].values():
            Path(found["artifacts"][0]["uri"]).write_text("x" * 1024)
        return await super().run(launch)


def making(image: str = "ok", *, cache: bool = False) -> dict[str, Any]:
    """A pipeline of one task that gives a model."""
    body = {**task("make", "comp-make"), "cachingOptions": {"enableCache": cache}}
    return document(
        {"make": body},
        {"comp-make": component(executorLabel="exec-make", output_artifacts=artifacts(model="Model"))},
        {"exec-make": {"container": {"image": image, "command": ["true"]}}},
    )


def retention(local: LocalApp, now: float = 0.0, **limits: Any) -> Retention:
    backend = local.backend
    return Retention(backend.store, backend.settings.data_dir, Limits(**limits), now=lambda: now)


async def run_made(local: LocalApp, **more: Any) -> str:
    run_id = await local.create_run(pipeline_spec=making(**more))
    await local.wait_for(run_id, "SUCCEEDED")
    return run_id


def files_of(local: LocalApp, run_id: str) -> list[Path]:
    data = local.backend.settings.data_dir
    return [
        found for found in [data / "runs" / run_id, *data.glob(f"artifacts/*/{run_id}")] if found.exists()
    ]


async def count(local: LocalApp, table: str) -> int:
    def read(connection: Any) -> int:
        return int(connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])

    return await local.backend.store.read(read)


async def test_the_oldest_runs_go_with_everything_they_had(tmp_path: Path) -> None:
    async with local_app(tmp_path, runner=WritingRunner()) as local:
        runs = [await run_made(local, image=f"ok-{number}") for number in range(4)]
        assert all(len(files_of(local, run_id)) == 2 for run_id in runs)
        log_path = f"/apis/v1alpha1/runs/{runs[0]}/nodes"
        pod = (await local.get_run(runs[0]))["run_details"]["task_details"][1]["pod_name"]
        assert (await local.client.get(f"{log_path}/{pod}/log")).status_code == 200
        await retention(local, runs=2).sweep()
        for run_id in runs[:2]:
            assert (await local.client.get(f"{API}/runs/{run_id}")).status_code == 404
            assert files_of(local, run_id) == []
        assert (await local.client.get(f"{log_path}/{pod}/log")).status_code == 404
        for run_id in runs[2:]:
            assert (await local.get_run(run_id))["state"] == "SUCCEEDED"
            assert len(files_of(local, run_id)) == 2
        assert await count(local, "specs") == 2
        assert await count(local, "mlmd_artifacts") == 2
        assert await count(local, "mlmd_executions") == 4
        assert await count(local, "tasks") == 4


async def test_a_run_that_goes_on_is_never_removed(tmp_path: Path) -> None:
    async with local_app(tmp_path, runner=WritingRunner()) as local:
        going = await local.create_run(pipeline_spec=making("wait"))
        await local.wait_for(going, "RUNNING")
        done = await run_made(local)
        await retention(local, now=1e12, runs=0, days=0, gib=0).sweep()
        assert (await local.get_run(going))["state"] == "RUNNING"
        assert (await local.client.get(f"{API}/runs/{done}")).status_code == 404
        local.runner.released.set()
        await local.wait_for(going, "SUCCEEDED")


async def test_a_run_whose_artifacts_were_taken_from_the_cache_stays_as_long_as_their_user(
    tmp_path: Path,
) -> None:
    async with local_app(tmp_path, runner=WritingRunner()) as local:
        maker = await run_made(local, cache=True)
        user = await run_made(local, cache=True)
        assert len(local.runner.launches) == 1
        await retention(local, runs=1).sweep()
        assert len(files_of(local, maker)) == 2
        # The user goes first, then nothing holds the maker.
        await retention(local, runs=0).sweep()
        for run_id in (maker, user):
            assert files_of(local, run_id) == []
            assert (await local.client.get(f"{API}/runs/{run_id}")).status_code == 404
        # Nothing is answered from a cache whose content is gone.
        await run_made(local, cache=True)
        assert len(local.runner.launches) == 2


async def test_a_deleted_run_loses_its_logs_at_once_and_its_artifacts_with_retention(tmp_path: Path) -> None:
    async with local_app(tmp_path, runner=WritingRunner()) as local:
        run_id = await run_made(local)
        await local.client.delete(f"{API}/runs/{run_id}")
        await retention(local).sweep()
        assert [folder.parent.parent.name for folder in files_of(local, run_id)] == ["artifacts"]
        assert await count(local, "mlmd_artifacts") == 1
        await retention(local, days=100).sweep()
        assert files_of(local, run_id) == []
        assert await count(local, "mlmd_artifacts") == 0


async def test_only_folders_of_runs_are_tidied_away(tmp_path: Path) -> None:
    async with local_app(tmp_path) as local:
        stale = tmp_path / "runs" / "0f1e2d3c-0000-4000-8000-000000000001"
        other = tmp_path / "runs" / "mine"
        for folder in (stale, other):
            folder.mkdir(parents=True)
        await retention(local).sweep()
        assert (stale.exists(), other.exists()) == (False, True)


def kept(*ends: int | None) -> list[KeptRun]:
    return [KeptRun(str(number), end) for number, end in enumerate(ends)]


def test_which_runs_are_beyond_the_limits() -> None:
    runs = kept(1 * DAY, None, 2 * DAY, 3 * DAY)
    sizes = {"0": 2**30, "1": 2**30, "2": 2**30, "3": 2**30}

    def found(**limits: Any) -> list[str]:
        return beyond(runs, sizes, Limits(**limits), now=4 * DAY)

    assert found() == []
    assert found(runs=2) == ["0"]
    assert found(days=1.5) == ["0", "2"]
    assert found(gib=2.5) == ["0", "2"]
    assert found(gib=0) == ["0", "2", "3"]
    assert found(runs=3, days=100, gib=100) == []


def test_environments_that_nobody_uses_are_removed(tmp_path: Path) -> None:
    for name, age in [("used", 0), ("unused", 3 * DAY)]:
        (tmp_path / name).mkdir()
        marker = tmp_path / name / "kfbridge-complete.json"
        marker.write_text("[]")
        os.utime(marker, (10 * DAY - age, 10 * DAY - age))
    assert remove_unused_environments(tmp_path, 2, now=10 * DAY) == 1
    assert [folder.name for folder in tmp_path.iterdir()] == ["used"]


def test_sizes_do_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 100)
    (tmp_path / "a" / "link").symlink_to("/")
    assert size_of(tmp_path) == 100
    assert size_of(tmp_path / "nothing") == 0


@pytest.mark.parametrize(
    "setting", [{"keep_runs": 0}, {"keep_runs": -1}, {"keep_days": -0.5}, {"keep_gib": float("nan")}]
)
def test_limits_that_make_no_sense(tmp_path: Path, setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        LocalSettings(data_dir=tmp_path, **setting)


async def artifact_uri(local: LocalApp) -> Path:
    def read(connection: Any) -> str:
        return str(connection.execute("SELECT uri FROM mlmd_artifacts").fetchone()[0])

    return Path((await local.backend.store.read(read)).removeprefix("file://"))


async def test_the_content_of_artifacts_and_of_nothing_else(tmp_path: Path) -> None:
    async with local_app(tmp_path, runner=WritingRunner()) as local:
        await run_made(local)
        model = await artifact_uri(local)
        secret = tmp_path / "secret"
        secret.write_text("secret")

        async def get(key: str, **more: str) -> Any:
            return await local.client.get(
                "/artifacts/get", params={"source": "file", "bucket": "", "key": key, **more}
            )

        answer = await get(str(model))
        assert (answer.status_code, answer.text) == (200, "x" * 1024)
        assert answer.headers["content-security-policy"] == "sandbox"
        assert (await get(model.as_uri())).text == "x" * 1024
        assert (await get(str(model), peek="3")).text == "xxx"
        assert (await local.client.get(f"/artifacts/file/local{model}")).text == "x" * 1024
        ranged = await local.client.get(f"/artifacts/file/local{model}", headers={"Range": "bytes=0-1"})
        assert (ranged.status_code, ranged.text) == (206, "xx")

        model.unlink()
        assert (await get(str(model))).status_code == 404
        model.mkdir()
        (model / "part").write_text("part")
        (model / "way-out").symlink_to(secret)
        assert (await get(str(model))).status_code == 400
        assert (await get(f"{model}/part")).text == "part"
        for key in (
            str(secret),
            f"{model}/way-out",
            f"{model}/../../../../../secret",
            f"{model}/%2e%2e/x",
            "/etc/passwd",
            "../../etc/passwd",
            str(tmp_path / "local.db"),
        ):
            assert (await get(key)).status_code == 404, key
        for params in (
            {"key": str(model)},
            {"source": "s3", "bucket": "b", "key": "k"},
            {"source": "file"},
            {"source": "file", "key": "a\0b"},
            {"source": "file", "key": f"{model}/part", "peek": "-1"},
        ):
            assert (await local.client.get("/artifacts/get", params=params)).status_code == 400


async def test_a_default_run_keeps_everything(tmp_path: Path) -> None:
    async with local_app(tmp_path, runner=WritingRunner()) as local:
        run_id = await run_made(local)
        await local.backend.retention.sweep()
        assert len(files_of(local, run_id)) == 2
        assert json.loads((await local.client.get(f"{API}/runs/{run_id}")).text)["state"] == "SUCCEEDED"
