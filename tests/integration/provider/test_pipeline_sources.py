"""Where the operator's pipeline may come from: URLs, object stores, functions of kfp."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.provider.conftest import PIPELINES, Ran
from tests.support.airflow_version import needs
from tests.support.fake_bridge import FakeBridge

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(120, method="thread")]

RunDag = Callable[..., Ran]
TRAINING = (PIPELINES / "training.yaml").read_bytes()
PIN = f"#sha256={hashlib.sha256(TRAINING).hexdigest()}"
ROOT = Path(__file__).parents[3]


class Files(BaseHTTPRequestHandler):
    """Serves the training pipeline, and addresses that have something wrong with them."""

    def do_GET(self) -> None:
        answer = {
            "/training.yaml": lambda: self._send(200, TRAINING),
            "/moved": lambda: self._send(302, b"", Location="/training.yaml"),
            "/around": lambda: self._send(302, b"", Location="/around"),
            "/away": lambda: self._send(503, b""),
            "/secret": lambda: self._send(403, b""),
            "/page": lambda: self._send(200, b"<html>please log in</html>"),
            "/endless": self._endless,
            "/drip": self._drip,
            "/cut": self._cut,
        }
        answer.get(self.path, lambda: self._send(404, b""))()

    def _send(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def _endless(self) -> None:
        self._stream(lambda: b"#" * 65536)

    def _drip(self) -> None:
        def drop() -> bytes:
            time.sleep(0.01)
            return b"#"

        self._stream(drop)

    def _stream(self, piece: Callable[[], bytes]) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(piece())
        except OSError:
            self.close_connection = True  # the reader has seen enough

    def _cut(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(TRAINING)))
        self.end_headers()
        self.wfile.write(TRAINING[:100])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the test's output is for the test."""


@pytest.fixture(scope="module")
def files() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    "path", ["/training.yaml", "/moved", f"/training.yaml{PIN}", f"/moved{PIN.upper().replace('SHA', 'sha')}"]
)
def test_a_pipeline_at_a_url_is_read(files: str, path: str) -> None:
    from bridge.provider.pipelines import load_pipeline_from

    assert load_pipeline_from(files + path, []).name == "training"


@pytest.mark.parametrize(
    ("path", "told", "may_pass"),
    [
        ("/nowhere", "cannot be read: HTTP 404", False),
        ("/secret", "cannot be read: HTTP 403", False),
        ("/away", "cannot be read now: HTTP 503", True),
        ("/cut", "cannot be read now", True),
        ("/around", "redirect", False),
        ("/page", "is no compiled pipeline that can be run", False),
        ("/endless", "is longer than 8388608 bytes", False),
        ("/drip", "has not come in 0.3 s", True),
        ("/training.yaml#sha256=" + "0" * 64, "is not the one that sha256=000", False),
    ],
)
def test_a_url_that_gives_no_pipeline_says_why(
    files: str, monkeypatch: pytest.MonkeyPatch, path: str, told: str, may_pass: bool
) -> None:
    from bridge.provider import fetching
    from bridge.provider.pipelines import load_pipeline_from

    monkeypatch.setattr(fetching, "_DOWNLOAD_SECONDS", 0.3 if path == "/drip" else 20.0)
    with pytest.raises(fetching.PipelineProblem, match=told) as caught:
        load_pipeline_from(files.replace("//", "//ada:geheim@") + path, [])
    assert isinstance(caught.value, fetching.PipelineAway) is may_pass
    assert "geheim" not in str(caught.value)


def test_nobody_listening_may_pass(files: str) -> None:
    from bridge.provider.fetching import PipelineAway
    from bridge.provider.pipelines import load_pipeline_from
    from deploy.laptop.processes import free_port

    with pytest.raises(PipelineAway, match="cannot be read now"):
        load_pipeline_from(f"http://127.0.0.1:{free_port()}/p.yaml", [])


HEAD = """
from datetime import timedelta
from pathlib import Path
from airflow.sdk import DAG, ObjectStoragePath
from bridge.provider.operators import KubeflowPipelineOperator

HERE = Path(__file__).parent
with DAG("training", params={"where": "URL", "file": "training"}) as dag:
    KubeflowPipelineOperator(task_id="train", retries=2, retry_delay=timedelta(0), arguments={"epochs": 1},
"""


@pytest.mark.parametrize(
    "pipeline",
    [
        "'{{ params.where }}/training.yaml'",
        "'{{ params.where }}/training.yaml" + PIN + "'",
        "ObjectStoragePath(f'file://{HERE}/pipelines/training.yaml')",
        "f'file://{HERE}/pipelines/{{{{ params.file }}}}.yaml'",
        "HERE / 'pipelines' / 'training.yaml'",
        "'pipelines/{{ params.file }}.yaml'",
    ],
)
def test_a_dag_runs_a_pipeline_from_there(
    fake: FakeBridge, run_dag: RunDag, files: str, pipeline: str
) -> None:
    assert run_dag((HEAD + f"pipeline={pipeline})").replace("URL", files)).state == "success"
    (stored,) = fake.runs.values()
    assert stored.request.spec is not None
    assert "name: training" in stored.request.spec


@pytest.mark.parametrize(("path", "tries"), [("/away", 3), ("/nowhere", 1)])
def test_only_what_may_pass_is_tried_again(
    fake: FakeBridge, run_dag: RunDag, files: str, path: str, tries: int
) -> None:
    ran = run_dag(HEAD + f"pipeline={files + path!r})")
    assert ran.state == "failed"
    assert ran.task("train").try_number == tries
    assert fake.runs == {}


def test_an_object_store_path_of_this_machine_is_checked_when_parsed(run_dag: RunDag) -> None:
    source = HEAD.replace('"epochs": 1', '"epoch": 1')
    with pytest.raises(ValueError, match="no parameter epoch"):
        run_dag(source + "pipeline=ObjectStoragePath(f'file://{HERE}/pipelines/training.yaml'))")


def test_a_function_that_kfp_did_not_decorate_is_refused(run_dag: RunDag) -> None:
    with pytest.raises(ValueError, match="task 'train' has no pipeline: the function print is no pipeline"):
        run_dag(HEAD + "pipeline=print)")


_KFP = ROOT / ".venv" / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
_FUNCTION_DAG = """
import json, sys
sys.path.append("KFP")  # behind Airflow's own: what both have is Airflow's
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization
from kfp import dsl
from bridge.provider.operators import KubeflowPipelineOperator
from bridge.provider.taskgroup import KubeflowPipelineTaskGroup

@dsl.component(base_image="python:3.11")
def double(x: int) -> int:
    return 2 * x

@dsl.pipeline(name="doubling")
def doubling(x: int, note: str = "") -> int:
    return double(x=x).output

with DAG("functions") as dag:
    KubeflowPipelineOperator(task_id="run", pipeline=doubling, arguments={"x": "{{ 40 + 2 }}"}, wait=False)
    mapped = KubeflowPipelineOperator.partial(task_id="mapped", pipeline=doubling, wait=False)
    mapped.expand(arguments=[{"x": 1}, {"x": 2}])
with DAG("group") as group:
    KubeflowPipelineTaskGroup("all", pipeline=doubling, arguments={"x": 1})

def main() -> None:
    try:
        with DAG("wrong"):
            KubeflowPipelineOperator(task_id="run", pipeline=doubling, arguments={"y": 1})
    except ValueError as error:
        refused = str(error)
    once, again = (json.dumps(DagSerialization.to_dict(dag), sort_keys=True, default=str) for _ in range(2))
    assert once == again and " at 0x" not in once, once
    DagSerialization.from_dict(DagSerialization.to_dict(group))
    state = str(dag.test().state)
    print("TOLD", json.dumps({"refused": refused, "state": state, "tasks": sorted(group.task_ids)}))

if __name__ == "__main__":
    main()
"""


@needs(3, 2, "DAGs serialized in the way that this test asks for")
@pytest.mark.skipif(not _KFP.is_dir(), reason="kfp's environment is not beside this checkout")
def test_a_kfp_function_in_a_real_airflow_beside_a_real_kfp(fake: FakeBridge, run_dag: RunDag) -> None:
    source = Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"], "functions.py")
    source.write_text(_FUNCTION_DAG.replace("KFP", str(_KFP)))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(source)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    told = next(line for line in done.stdout.splitlines() if line.startswith("TOLD"))
    assert "doubling has no parameter y" in told
    assert '"state": "success"' in told
    assert "all.double" in told
    sent = sorted(
        (run.request.origin.task_id or "", run.request.arguments["x"]) for run in fake.runs.values()
    )
    assert sent == [("mapped", 1), ("mapped", 2), ("run", 42)]
    assert all("name: doubling" in (run.request.spec or "") for run in fake.runs.values())
