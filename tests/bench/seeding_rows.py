"""A made-up history of many runs: two years, several projects, 200 pipelines, each with its DAG; seeded.

Rows are tuples in the order of ``COLUMNS``, times and ids as text, JSON as text: what both databases take
without conversion.
"""

from __future__ import annotations

import json
import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate

from bridge.lineage.words import words_in

Row = tuple[object, ...]
Rows = dict[str, list[Row]]

END = datetime(2026, 8, 1, tzinfo=UTC)
SPAN = timedelta(days=730)
PIPELINES = 200
# Some projects are large and some have hardly any run: a filter must be quick in both.
PROJECTS = {
    "default": 0.5,
    "pricing": 0.25,
    "fraud": 0.12,
    "search": 0.08,
    "ads": 0.04,
    "maps": 0.009,
    "labs": 0.001,
}
BACKENDS = ("production", "production-eu", "local")
STATES = {"SUCCEEDED": 0.885, "FAILED": 0.07, "CANCELED": 0.03, "SKIPPED": 0.015}
TEAMS = ("risk", "growth", "platform", "vision", "language")
METRICS = (
    *("evaluate.auc", "evaluate.accuracy", "evaluate.f1", "evaluate.log_loss", "evaluate.calibration"),
    *("train.loss", "train.rows", "train.seconds", "validate.psi", "validate.missing"),
)
# A metric that only one pipeline has.
RARE_METRIC, RARE_PIPELINE = "evaluate.map_at_10", 7
ERRORS = (
    "OOMKilled: the container used more than 16Gi",
    "ValueError: could not convert string to float",
    "ImagePullBackOff: registry refused the image",
    "TimeoutError: no answer from the feature store",
    "Unschedulable: 0/40 nodes have nvidia.com/gpu",
)
_NOUNS = ("churn", "delay", "demand", "fraud", "price", "rank", "click", "basket", "yield", "route")
_VERBS = ("train", "score", "retrain", "evaluate")
# Each task of the graph reads what so many tasks of the layer before it wrote.
PARENTS, TASKS_IN_RUN = 3, 10

_BELONGS = "backend project "
COLUMNS: dict[str, tuple[str, ...]] = {
    name: tuple(columns.split())
    for name, columns in {
        "pipelines": _BELONGS + "id name created_at",
        "jobs": _BELONGS + "id namespace name job_type",
        "datasets": _BELONGS + "id dataset_id uri uri_key created_at",
        "job_runs": _BELONGS
        + "id job ol_run_id dag_id dag_run_id task_id map_index try_number state started_at finished_at "
        + "origin facets",
        "runs": _BELONGS
        + "id run_id kfp_run_id submission_key attempt pipeline_name pipeline_digest display_name experiment "
        + "phase state shown_state good mirror version created_at submitted_at started_at finished_at "
        + "settled_at revivals error arguments labels origin scheduler dag_id dag_run_id task_id map_index "
        + "words",
        "run_labels": _BELONGS + "run name value created_at",
        "metrics": _BELONGS + "run key task_path name step value created_at",
        "tasks": _BELONGS
        + "id run task_id name path state kind cached created_at finished_at inputs outputs",
        "artifacts": _BELONGS
        + "id artifact_id backend_artifact_id incarnation type uri uri_key name digest meta created_at "
        + "dataset",
        "artifact_uses": _BELONGS + "artifact run task direction key position",
        "dataset_versions": _BELONGS + "id dataset version unknown_by rows written_at producer",
        "dataset_uses": _BELONGS + "version run job_run direction via name position",
    }.items()
}


@dataclass
class History:
    """How much to make, and from which seed. One run in ``detail_every`` has tasks, artifacts and data.

    Besides there is one graph of artifacts that hang together: ``layers`` times ``width`` tasks, each of
    which makes one artifact from three of the layer before, in runs of ten tasks.
    """

    runs: int = 1_000_000
    metrics: int = 10
    seed: int = 2013
    detail_every: int = 10
    layers: int = 50
    width: int = 100
    _next: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._projects = _Weighted(PROJECTS)
        self._states = _Weighted(STATES)
        # Pipelines are as unevenly used as projects are.
        self._pipelines = _Weighted({str(number): 1 / (number + 3) for number in range(PIPELINES)})

    def begin(self) -> Rows:
        """The rows that the others refer to."""
        made = text(END - SPAN)
        rows: Rows = {
            "pipelines": [
                ("", project, self._id("pipelines"), pipeline_name(number), made)
                for number in range(PIPELINES)
                for project in PROJECTS
            ],
            "jobs": [
                ("", "default", number + 1, "airflow", f"{dag_name(number)}.load", "TASK")
                for number in range(PIPELINES)
            ],
            "datasets": [
                ("", "default", number + 1, self._uuid(), uri, uri, made)
                for number in range(PIPELINES)
                for uri in [f"s3://lake/{dag_name(number)}"]
            ],
        }
        return rows

    def pieces(self, size: int = 5000) -> Iterator[Rows]:
        """All rows, ``size`` runs at a time, oldest first; the graph comes last."""
        step = SPAN / max(self.runs, 1)
        for first in range(0, self.runs, size):
            rows: Rows = {name: [] for name in COLUMNS}
            for number in range(first, min(first + size, self.runs)):
                self._run(rows, number, END - SPAN + step * number)
            yield rows
        yield self._graph()

    def _run(self, rows: Rows, number: int, at: datetime) -> None:
        pick = self._random
        if pick.random() < 0.05:
            # Found on the backend long after it ran.
            at -= timedelta(days=pick.random() * 60)
        # Runs found on backends have whole seconds, so that many have the same moment.
        created = at.replace(microsecond=0) if pick.random() < 0.2 else at
        pipeline = int(self._pipelines.pick(pick))
        key, project = self._run_row(rows, created, pipeline, open_run=number > self.runs - self.runs // 1000)
        backend, moment = BACKENDS[pipeline % 3], text(created)
        keys = (
            METRICS[: self.metrics]
            if pipeline != RARE_PIPELINE
            else (*METRICS[: self.metrics - 1], RARE_METRIC)
        )
        for metric in keys:
            task, _, name = metric.partition(".")
            value = round(0.5 + pick.random() / 2, 6)
            rows["metrics"].append((backend, project, key, metric, task, name, 0, value, moment))
        if number % self.detail_every == 0:
            self._details(rows, key, project, backend, pipeline, created)

    def _run_row(self, rows: Rows, created: datetime, pipeline: int, *, open_run: bool) -> tuple[int, str]:
        pick = self._random
        project, backend = self._projects.pick(pick), BACKENDS[pipeline % 3]
        state = "RUNNING" if open_run else self._states.pick(pick)
        name, dag, team = pipeline_name(pipeline), dag_name(pipeline), TEAMS[pipeline % 5]
        lasted = None if open_run else created + timedelta(seconds=20 + pick.expovariate(1 / 1500))
        key, moment = self._id("runs"), text(created)
        error = pick.choice(ERRORS) if state == "FAILED" else None
        labels = {"team": team, "tier": "gold"} if pipeline % 4 == 0 else {"team": team}
        if pick.random() < 0.001:
            labels["incident"] = f"INC-{pick.randrange(500)}"
        display = f"{name} {moment[:10]}"
        dag_run_id = f"scheduled__{created.isoformat()}"
        origin = {
            "scheduler": "airflow",
            "dag_id": dag,
            "dag_run_id": dag_run_id,
            "task_id": "train",
            "team": team,
        }
        told = (
            display,
            name,
            f"{team}-experiments",
            dag,
            "train",
            team,
            *labels,
            *labels.values(),
            error or "",
        )
        words = "".join(f" {one}" for one in dict.fromkeys(word for part in told for word in words_in(part)))
        rows["runs"].append(
            (
                *(backend, project, key, self._uuid(), self._uuid(), self._uuid(), 1, name),
                *(f"{pipeline:064x}", display, f"{team}-experiments"),
                *("ACTIVE" if open_run else "ENDED", state, state, state == "SUCCEEDED"),
                *("PARTIAL" if open_run else "COMPLETE", 5, moment, moment, moment),
                *((text(lasted), text(lasted)) if lasted else (None, None)),
                *(0, json.dumps({"message": error, "task": "train"}) if error else None),
                *(f'{{"epochs":{pick.randrange(50)}}}', json.dumps(labels), json.dumps(origin)),
                *("airflow", dag, dag_run_id, "train", -1, words),
            )
        )
        rows["run_labels"] += [(backend, project, key, *label, moment) for label in labels.items()]
        return key, project

    def _details(self, rows: Rows, run: int, project: str, backend: str, pipeline: int, at: datetime) -> None:
        moment = text(at)
        producer, version = self._id("job_runs"), self._id("dataset_versions")
        dag_run_id = f"load__{producer}"
        rows["job_runs"].append(
            (
                *(
                    "",
                    "default",
                    producer,
                    pipeline + 1,
                    self._uuid(),
                    dag_name(pipeline),
                    dag_run_id,
                    "load",
                ),
                *(-1, 1, "COMPLETE", moment, moment, "{}", "{}"),
            )
        )
        rows["dataset_versions"].append(
            ("", "default", version, pipeline + 1, f"v{version}", 0, 1000, moment, producer)
        )
        rows["dataset_uses"].append(("", "default", version, None, producer, "OUTPUT", "openlineage", "", 0))
        rows["dataset_uses"].append(("", project, version, run, None, "INPUT", "input", "data", 0))
        before: int | None = None
        for name, kind in (("load", "Dataset"), ("train", "Model"), ("evaluate", "Metrics")):
            task = self._task(rows, run, project, backend, name, moment)
            if before is not None:
                rows["artifact_uses"].append((backend, project, before, run, task, "INPUT", "given", 0))
            before = self._artifact(rows, project, backend, kind, moment)
            rows["artifact_uses"].append((backend, project, before, run, task, "OUTPUT", "made", 0))

    def _graph(self) -> Rows:
        rows: Rows = {name: [] for name in COLUMNS}
        pick, layer = self._random, list[int]()
        for depth in range(self.layers):
            at = END - SPAN / 2 + timedelta(hours=depth)
            made = []
            for place in range(self.width):
                if place % TASKS_IN_RUN == 0:
                    run, project = self._run_row(rows, at, 0, open_run=False)
                task = self._task(rows, run, project, BACKENDS[0], f"step-{place}", text(at))
                for position, one in enumerate(pick.sample(layer, PARENTS) if layer else ()):
                    rows["artifact_uses"].append(
                        (BACKENDS[0], project, one, run, task, "INPUT", "given", position)
                    )
                made.append(self._artifact(rows, project, BACKENDS[0], "Model", text(at)))
                rows["artifact_uses"].append((BACKENDS[0], project, made[-1], run, task, "OUTPUT", "made", 0))
            layer = made
        return rows

    def _task(self, rows: Rows, run: int, project: str, backend: str, name: str, moment: str) -> int:
        key = self._id("tasks")
        told = (f"t{key}", name, name, "SUCCEEDED", "executor", False, moment, moment, "{}", "{}")
        rows["tasks"].append((backend, project, key, run, *told))
        return key

    def _artifact(self, rows: Rows, project: str, backend: str, kind: str, moment: str) -> int:
        key = self._id("artifacts")
        uri = f"s3://models/{key}/{kind.lower()}"
        rows["artifacts"].append(
            (
                *(backend, project, key, self._uuid(), str(key), 0, f"system.{kind}"),
                *(uri, uri, kind.lower(), f"{key:064x}", "{}", moment, None),
            )
        )
        return key

    def _id(self, table: str) -> int:
        self._next[table] = self._next.get(table, 0) + 1
        return self._next[table]

    def _uuid(self) -> str:
        digits = f"{self._random.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class _Weighted:
    """Names by their share."""

    def __init__(self, shares: dict[str, float]) -> None:
        self._names = list(shares)
        self._sums = list(accumulate(shares.values()))

    def pick(self, source: random.Random) -> str:
        place = bisect(self._sums, source.random() * self._sums[-1])
        return self._names[min(place, len(self._names) - 1)]


def pipeline_name(number: int) -> str:
    """The name of a pipeline: the lower its number, the more runs it has."""
    return f"{_NOUNS[number % 10]}-{_VERBS[number // 10 % 4]}-{number:03}"


def dag_name(number: int) -> str:
    """The DAG that runs the pipeline with this number."""
    return f"{_NOUNS[number % 10]}_daily_{number:03}"


def text(moment: datetime) -> str:
    """A moment as both databases store and take it."""
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
