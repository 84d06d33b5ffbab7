"""The DAGs of the end-to-end scenarios, steered by the files that a DagRun's conf names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.openlineage.utils.selective_enable import enable_lineage
from airflow.sdk import DAG, Asset, AssetWatcher, task

from bridge.provider.events import KubeflowEventTrigger
from bridge.provider.operators import KubeflowPipelineOperator
from bridge.provider.taskgroup import KubeflowPipelineTaskGroup

PIPELINE = "pipelines/held.yaml"
ASSET = Asset(name="e2e_model", uri="x-e2e://models/held")
WATCHED_PROJECT = "e2e-watched"
WATCHED = Asset(
    name="e2e_watched_runs",
    watchers=[AssetWatcher(name="ended", trigger=KubeflowEventTrigger(project=WATCHED_PROJECT))],
)
RETRY_ONCE = {"retries": 1, "retry_delay": timedelta(seconds=1)}
BLOCKING = {"deferrable": False}


def from_conf(name: str, default: object = "") -> str:
    """The template of a value that the DagRun's conf may give."""
    return f"{{{{ dag_run.conf.get('{name}', {default!r}) }}}}"


def arguments(**changed: Any) -> dict[str, Any]:
    """The pipeline's arguments, from the DagRun's conf."""
    names = {"trace": "", "release": "", "fails": "", "score": 1.0}
    return {name: from_conf(name, default) for name, default in names.items()} | changed


def scenario(dag_id: str, *, schedule: Any = None, paused: bool = False, **options: Any) -> DAG:
    """A DAG that runs when it is triggered, from its first parse on unless it is ``paused``."""
    return DAG(dag_id, schedule=schedule, is_paused_upon_creation=paused, **options)


def run(**options: Any) -> None:
    """The task ``run``."""
    KubeflowPipelineOperator(task_id="run", pipeline=PIPELINE, arguments=arguments(), **options)


def one_task(dag_id: str, **options: Any) -> None:
    """A DAG with the task ``run`` alone."""
    with scenario(dag_id):
        run(**options)


@task
def told(*, triggering_asset_events: Any = None) -> list[Any]:
    """What the events that triggered this DagRun say."""
    return [event.extra for events in triggering_asset_events.values() for event in events]


one_task("waiting")
one_task("in_a_pool", pool="e2e_alone")
one_task("adopting", on_clear="adopt")
one_task("adopting_blocking", on_clear="adopt", **BLOCKING)
one_task("detaching", on_clear="detach")
one_task("retried_anew", **RETRY_ONCE)
one_task("retried_in_place", on_retry="retry_failed_tasks", **RETRY_ONCE)
# Long enough for a busy machine to submit the run before the time is up.
one_task("limited", timeout=timedelta(seconds=30))
one_task("limited_by_airflow", execution_timeout=timedelta(seconds=30))
one_task("limited_blocking", execution_timeout=timedelta(seconds=30), **BLOCKING)
one_task("blocking", **BLOCKING, **RETRY_ONCE)
one_task("producing", outlets=[ASSET])

with scenario("traced") as traced:
    KubeflowPipelineOperator(task_id="run", pipeline=PIPELINE, arguments=arguments(), **RETRY_ONCE)
enable_lineage(traced)

with scenario("mapped"):
    KubeflowPipelineOperator.partial(task_id="run", pipeline=PIPELINE, pool="e2e_mapped").expand(
        arguments=[arguments(score=score) for score in (0.1, 0.2, 0.3)]
    )

with scenario("gated"):
    for action in ("fail", "skip", "continue"):
        KubeflowPipelineOperator(
            task_id=action,
            pipeline=PIPELINE,
            arguments=arguments(),
            gate="work.value >= 0.9",
            gate_action=action,  # type: ignore[arg-type]
            **RETRY_ONCE,
        )

with scenario("refused", render_template_as_native_obj=True):
    KubeflowPipelineOperator(
        task_id="by_the_pipeline",
        pipeline=PIPELINE,
        arguments="{{ dag_run.conf['arguments'] }}",
        **RETRY_ONCE,
    )
    KubeflowPipelineOperator(task_id="by_the_bridge", pipeline={"name": "nobody-knows-it"}, **RETRY_ONCE)

# Its days lie in the past and are made by a backfill only.
with scenario(
    "backfilled",
    paused=True,
    schedule="@daily",
    start_date=datetime(2020, 1, 1, tzinfo=UTC),
    end_date=datetime(2020, 1, 31, tzinfo=UTC),
    catchup=False,
    max_active_runs=31,
):
    run(pool="e2e_backfill")

with scenario("shaped"):
    KubeflowPipelineTaskGroup("kfp", pipeline="pipelines/shaped.yaml", arguments=arguments())

with scenario("consuming", schedule=[ASSET]):
    told()

with scenario("watching", schedule=[WATCHED]):
    told()
