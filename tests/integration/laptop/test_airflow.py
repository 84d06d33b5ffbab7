"""Asking an Airflow that answers with faults of its own, as it does when its SQLite is locked."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from deploy.laptop.airflow import AirflowPlace, AirflowStandalone


class FaultyAirflow(BaseHTTPRequestHandler):
    """Makes DagRuns; ``faults`` says of the next requests whether they are done before the answer is 500."""

    made: ClassVar[list[str]]
    faults: ClassVar[list[bool]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        dag_run_id = body["dag_run_id"]
        done = self.faults.pop(0) if self.faults else None
        if done is False:
            self._answer(500, {})
        elif dag_run_id in self.made:
            self._answer(409, {})
        else:
            self.made.append(dag_run_id)
            self._answer(200 if done is None else 500, {"dag_run_id": dag_run_id})

    def do_GET(self) -> None:
        if self.faults:
            self.faults.pop(0)
            self._answer(500, {})
            return
        dag_run_id = self.path.rpartition("/")[2]
        self._answer(200 if dag_run_id in self.made else 404, {"dag_run_id": dag_run_id})

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output is not the place."""

    def _answer(self, status: int, body: dict[str, str]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def faulty_airflow(tmp_path: Path, *, faults: list[bool], made: list[str]) -> Iterator[AirflowStandalone]:
    """An Airflow whose process does nothing and whose API is ``FaultyAirflow``."""
    handler = type("Handler", (FaultyAirflow,), {"faults": faults, "made": made})
    command = tmp_path / "venv" / "bin" / "airflow"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\nexec sleep 600\n")
    command.chmod(0o755)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        place = AirflowPlace(tmp_path / "home", tmp_path / "dags", tmp_path / "venv")
        airflow = AirflowStandalone(place, extra_env={}, port=server.server_port)
        airflow.start()
        try:
            yield airflow
        finally:
            airflow.stop()
            server.shutdown()
            thread.join()


def test_a_dagrun_that_a_faulty_answer_hides_is_made_once(tmp_path: Path) -> None:
    made: list[str] = []
    with faulty_airflow(tmp_path, faults=[False, True], made=made) as airflow:
        assert [airflow.trigger("etl")] == made
        assert airflow.trigger("etl", dag_run_id="mine") == "mine"
    assert made[1:] == ["mine"]


def test_a_dagrun_that_was_there_before_is_an_error(tmp_path: Path) -> None:
    with (
        faulty_airflow(tmp_path, faults=[], made=["mine"]) as airflow,
        pytest.raises(httpx.HTTPStatusError, match="409"),
    ):
        airflow.trigger("etl", dag_run_id="mine")


def test_reading_goes_on_after_a_faulty_answer(tmp_path: Path) -> None:
    with faulty_airflow(tmp_path, faults=[False], made=["mine"]) as airflow:
        assert airflow.dag_run("etl", "mine") == {"dag_run_id": "mine"}
