"""The operator and a task around ``kfp.Client``, waiting for the same runs in one real Airflow.

Both use one local backend, each through a proxy of its own that counts its requests, one after the other
in one ``airflow standalone``. kfp cannot live in Airflow's environment, so the second way is
``@task.external_python`` on the environment that has it, which is how people do it. The service that the
operator needs runs only while the operator is measured.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from deploy.laptop.airflow import AirflowPlace, AirflowStandalone
from deploy.laptop.processes import ManagedProcess, free_port
from tests.bench.airflow_watch import AirflowWatch, memory_mib
from tests.bench.pipelines import step_pipeline
from tests.bench.servers import bridge_process, counting_proxy, local_backend, proxy_counts

ROOT = Path(__file__).parents[2]
DAGS = Path(__file__).parent / "dags"
OPERATOR, CLIENT = "with_operator", "with_kfp_client"
_START_SECONDS = 180.0
_IDLE_LOOKS = 5
_QUIET_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Setting:
    """``runs`` runs of ``seconds`` each, in an Airflow whose LocalExecutor has ``slots`` slots."""

    runs: int = 50
    seconds: int = 60
    slots: int = 8


@dataclass(frozen=True, slots=True)
class Figures:
    """What one way of waiting took. Memory is above the idle Airflow's, each shared page counted once;
    latency is from a run's end at the backend until its task goes on, and until its task is a success."""

    wall_seconds: float
    slots_most: float
    slot_seconds: float
    runs_at_once_most: float
    memory_most_mib: float
    memory_mean_mib: float
    service_memory_mib: float
    requests: float
    resumed_p50_seconds: float
    resumed_p95_seconds: float
    success_p50_seconds: float
    success_p95_seconds: float


def measure(home: Path, setting: Setting) -> dict[str, Any]:
    """The figures of both ways, and how many times more of each the way around ``kfp.Client`` takes."""
    package = home / "step.yaml"
    package.write_text(step_pipeline(), encoding="utf-8")
    with ExitStack() as stack:
        kfp_url = stack.enter_context(local_backend(home, max_parallel=setting.runs + 10))
        operator_url = stack.enter_context(counting_proxy(home / "operator", kfp_url))
        client_url = stack.enter_context(counting_proxy(home / "client", kfp_url))
        bridge_port = free_port()
        airflow = _airflow(home, setting, package, client_url, f"http://127.0.0.1:{bridge_port}")
        stack.callback(airflow.stop)
        airflow.start()
        airflow.wait_healthy(seconds=_START_SECONDS)
        airflow.wait_dag(OPERATOR, seconds=_START_SECONDS)
        airflow.wait_dag(CLIENT, seconds=_START_SECONDS)
        database = f"sqlite:///{home / 'bridge.db'}"
        with bridge_process(home, operator_url, database, port=bridge_port) as service:
            operator = _measure(airflow, setting, OPERATOR, kfp_url, operator_url, service)
            kinds = {OPERATOR: proxy_counts(operator_url)}
        client = _measure(airflow, setting, CLIENT, kfp_url, client_url, None)
        kinds[CLIENT] = proxy_counts(client_url)
    return {
        "setting": asdict(setting),
        OPERATOR: asdict(operator),
        CLIENT: asdict(client),
        "times_more": _ratios(asdict(operator), asdict(client)),
        "requests_by_kind": kinds,
    }


def _airflow(home: Path, setting: Setting, package: Path, kfp_url: str, bridge_url: str) -> AirflowStandalone:
    place = AirflowPlace(home / "airflow", DAGS, ROOT / ".venv-airflow")
    environment = {
        "AIRFLOW__CORE__PARALLELISM": str(setting.slots),
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(setting.runs),
        "AIRFLOW_CONN_KFBRIDGE_DEFAULT": json.dumps({"conn_type": "kfbridge", "host": bridge_url}),
        "BENCH_RUNS": str(setting.runs),
        "BENCH_SECONDS": str(setting.seconds),
        "BENCH_PACKAGE": str(package),
        "BENCH_KFP_URL": kfp_url,
        "BENCH_KFP_PYTHON": str(ROOT / ".venv" / "bin" / "python"),
    }
    return AirflowStandalone(place, extra_env=environment)


def _measure(
    airflow: AirflowStandalone,
    setting: Setting,
    dag_id: str,
    kfp_url: str,
    proxy_url: str,
    service: ManagedProcess | None,
) -> Figures:
    idle = _idle_memory_mib(airflow)
    before = sum(proxy_counts(proxy_url).values())
    with AirflowWatch(airflow.process, airflow.place.home / "airflow.db") as watch:
        dag_run_id = airflow.trigger(dag_id)
        state = watch.wait_dag_run(dag_run_id, seconds=_longest(setting))
    if state != "success":
        raise RuntimeError(f"{dag_id} ended as {state}; see {airflow.process.log}")
    requests = sum(proxy_counts(proxy_url).values()) - before
    dag_run = airflow.dag_run(dag_id, dag_run_id)
    ended = _ends(airflow, dag_id, dag_run_id, kfp_url)
    memory = [sample.value - idle for sample in watch.memory]
    resumed = sorted(one.resumed - one.ended for one in ended)
    success = sorted(one.success - one.ended for one in ended)
    return Figures(
        wall_seconds=_seconds(dag_run["end_date"]) - _seconds(dag_run["start_date"]),
        slots_most=max(sample.value for sample in watch.slots),
        slot_seconds=watch.slot_seconds,
        runs_at_once_most=_most_at_once(ended),
        memory_most_mib=max(memory),
        memory_mean_mib=statistics.fmean(memory),
        service_memory_mib=0.0 if service is None else memory_mib(service),
        requests=requests,
        resumed_p50_seconds=_quantile(resumed, 0.5),
        resumed_p95_seconds=_quantile(resumed, 0.95),
        success_p50_seconds=_quantile(success, 0.5),
        success_p95_seconds=_quantile(success, 0.95),
    )


def _longest(setting: Setting) -> float:
    rounds = -(-setting.runs // setting.slots)
    return 600.0 + rounds * (setting.seconds + 60.0)


def _idle_memory_mib(airflow: AirflowStandalone) -> float:
    """The least of a few looks while nothing runs: the processes of the tasks before are gone by then."""
    looks = []
    for _ in range(_IDLE_LOOKS):
        time.sleep(_QUIET_SECONDS)
        looks.append(memory_mib(airflow.process))
    return min(looks)


@dataclass(frozen=True, slots=True)
class _Run:
    """Moments in seconds since 1970: the run's at the backend, and its task's."""

    started: float
    ended: float
    resumed: float
    success: float


def _ends(airflow: AirflowStandalone, dag_id: str, dag_run_id: str, kfp_url: str) -> list[_Run]:
    path = f"/dags/{dag_id}/dagRuns/{dag_run_id}/taskInstances"
    found = []
    for instance in airflow.get(path, limit=1000)["task_instances"]:
        index = instance["map_index"]

        def xcom(key: str, index: int = index) -> Any:
            return airflow.get(f"{path}/run/xcomEntries/{key}", map_index=index, deserialize="true")["value"]

        result = xcom("return_value")
        resumed = result["resumed_at"] if dag_id == CLIENT else xcom("resumed_at")
        answer = httpx.get(f"{kfp_url}/apis/v2beta1/runs/{result['kfp_run_id']}", timeout=30)
        run = answer.raise_for_status().json()
        found.append(
            _Run(
                started=_seconds(run["created_at"]),
                ended=_seconds(run["finished_at"]),
                resumed=float(resumed),
                success=_seconds(instance["end_date"]),
            )
        )
    return found


def _most_at_once(runs: Sequence[_Run]) -> float:
    """How many runs were under way at the same time at most."""
    return max(sum(other.started <= run.started < other.ended for other in runs) for run in runs)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp()


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def _ratios(operator: Mapping[str, float], client: Mapping[str, float]) -> dict[str, float]:
    names = ("wall_seconds", "slot_seconds", "memory_most_mib", "memory_mean_mib", "requests")
    return {name: client[name] / operator[name] for name in names if operator[name]}


def table(figures: Mapping[str, Any]) -> list[str]:
    """The figures as lines, both ways side by side."""
    setting, operator, client = figures["setting"], figures[OPERATOR], figures[CLIENT]
    head = f"{setting['runs']} runs of {setting['seconds']} s, LocalExecutor with {setting['slots']} slots"
    lines = [f"{head:<60} {'operator':>10} {'kfp.Client':>10} {'ratio':>8}"]
    for name, value in operator.items():
        ratio = figures["times_more"].get(name)
        told = "" if ratio is None else f"{ratio:8.1f}"
        lines.append(f"    {name:<56} {value:10.1f} {client[name]:10.1f} {told:>8}")
    return lines
