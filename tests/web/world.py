"""The runs that the pages are looked at with: made by a real local backend and followed by a real service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.integration.service.calls import submit, wait_until
from tests.integration.service.pipelines import sleeps, trains
from tests.support.bridge_service import start_service
from tests.support.fake_airflow import FakeAirflow, serve_airflow
from tests.support.local_backend import start_local_backend
from tests.web.history import make_history
from tests.web.pipelines import BAD_DAY, judges

_COMPILED = Path(__file__).resolve().parents[2] / "kfp_pipelines" / "compiled"
_TURN = "\N{RIGHT-TO-LEFT OVERRIDE}"
_MARKUP = "<script>alert('x')</script><img src=x onerror=alert(1)>&lt;b&gt;"
NASTY_NAME = (_MARKUP + " ליל טוב مرحبا " + f"{_TURN}txt.exe " + "unbroken" * 40)[:255]
AIRFLOW_URL = "https://airflow.example.com"
# What an hour costs; memory has no price.
# Only runs of one deployment can be cleared from the pages; of the others they show the command.
DEPLOYMENT = "cleared-here"
_SETTINGS = f"""
currency = "EUR"
[[prices]]
resource = "cpu"
per_hour = 0.04
[[prices]]
resource = "nvidia.com/gpu"
per_hour = 3.0
[airflow]
deployment = "{DEPLOYMENT}"
"""
FAILURE = "no flights on 2013-02-30"


@dataclass(frozen=True)
class World:
    """A service with one run of each kind. ``runs`` are by kind, as the API showed them last."""

    url: str
    client: httpx.Client
    runs: dict[str, dict[str, Any]]
    database_url: str = ""
    airflow: FakeAirflow = field(default_factory=FakeAirflow)

    def path(self, kind: str) -> str:
        """The page of a run."""
        return f"/runs/{self.runs[kind]['run_id']}"

    def fill(self, path: str) -> str:
        """A path with the ids of runs in the place of their kinds, such as ``/runs/{failed}``."""
        return path.format_map({kind: run["run_id"] for kind, run in self.runs.items()})

    def start_long_run(self, name: str) -> dict[str, Any]:
        """A run that goes on until it is canceled."""
        run = submit(self.client, sleeps(600), display_name=name)
        return wait_until(self.client, run, state="RUNNING")

    def cancel(self, run: dict[str, Any]) -> None:
        """Cancel a run without waiting for its end."""
        answer = self.client.post(f"/api/v1/runs/{run['run_id']}:cancel", json={})
        assert answer.status_code in (200, 202), answer.text


@contextmanager
def make_world(folder: Path) -> Iterator[World]:
    """Starts backend and service, makes the runs and waits for them; ends both afterwards."""
    settings = folder / "bridge.toml"
    settings.write_text(_SETTINGS)
    airflow = FakeAirflow()
    environment = {"KFBRIDGE_AIRFLOW_URL": AIRFLOW_URL, "KFBRIDGE_CONFIG": str(settings)}
    with (
        serve_airflow(airflow) as airflow_api,
        start_local_backend(folder / "local", max_parallel=4) as backend,
        start_service(
            folder / "service", backend.url, env={**environment, "KFBRIDGE_AIRFLOW_API_URL": airflow_api}
        ) as service,
        httpx.Client(base_url=service.url, timeout=60) as client,
    ):
        database_url = f"sqlite:///{folder / 'service' / 'bridge.db'}"
        world = World(service.url, client, {}, database_url, airflow)
        world.runs.update(_finished(client))
        world.runs.update(make_history(client))
        canceled = world.start_long_run("stopped by hand")
        world.cancel(canceled)
        world.runs["canceled"] = wait_until(client, canceled, over=True, state="CANCELED")
        world.runs["running"] = world.start_long_run("still going")
        yield world


def _finished(client: httpx.Client) -> dict[str, dict[str, Any]]:
    shapes = {"numbers": [2, 3, 5], "limit": 10}
    explode = {"message": FAILURE, "lines": 60}
    accepted = {
        "nasty": submit(client, _compiled("hello"), display_name=NASTY_NAME, arguments={"name": _MARKUP}),
        "failed": submit(client, _compiled("failing"), display_name="nightly load", arguments=explode),
        "shapes": submit(client, _compiled("shapes"), display_name="shapes above", arguments=shapes),
        "refused": submit(
            client,
            trains(),
            display_name="from a DAG",
            arguments={"epochs": 3},
            gate="evaluate.auc >= 0.9",
            inputs=[_partition(day) for day in range(1, 4)],
            origin=_origin("delay_model_retraining", "train"),
        ),
    }
    wanted = {"failed": "FAILED"}
    ended = {
        kind: wait_until(client, run, over=True, state=wanted.get(kind, "SUCCEEDED"))
        for kind, run in accepted.items()
    }
    return ended | _good_and_broken(client)


def _good_and_broken(client: httpx.Client) -> dict[str, dict[str, Any]]:
    """A run that went well, and one of the same pipeline that did not."""
    gate = "evaluate.auc >= last_good - 0.01"
    origin = _origin("delay_model", "train")
    good = submit(
        client, judges(), display_name="delays of 28 February", arguments={"day": "2013-02-28"}, gate=gate
    )
    judged = wait_until(client, good, over=True, state="SUCCEEDED")
    bad = submit(
        client, judges(), display_name="delays of 30 February", arguments={"day": BAD_DAY}, origin=origin
    )
    return {"judged": judged, "broken": wait_until(client, bad, over=True, state="FAILED")}


def _compiled(name: str) -> str:
    return (_COMPILED / f"{name}.yaml").read_text()


def _partition(day: int) -> dict[str, Any]:
    return {
        "name": "flights",
        "uri": f"file:///data/flights/year=2013/month=01/day={day:02}/a-rather-long-name-of-a-file.parquet",
        "version": f"{day:064x}",
        "version_kind": "sha256",
        "rows": 842 * day,
        "producer": _origin("flights_etl", "load_day"),
    }


def _origin(dag_id: str, task_id: str) -> dict[str, Any]:
    return {
        "scheduler": "airflow",
        "dag_id": dag_id,
        "dag_run_id": "asset_triggered__2013-01-05T02:00:00.123456+00:00_uyl6PyNK",
        "dag_run_start": "2013-01-05T02:00:01Z",
        "task_id": task_id,
    }
