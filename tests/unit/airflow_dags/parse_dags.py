"""Parses the DAG folder as Airflow's DAG processor does and prints what it found, as JSON; run by
``test_dag_files.py`` in a process of its own, so that nothing that other tests imported helps it."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any


def main(folder: str) -> None:
    """Prints ``{"errors": {…}, "seconds": {file: …}, "dags": {dag_id: {…}}}``."""
    # Airflow's own dependencies warn when they are imported.
    warnings.simplefilter("ignore")
    from airflow.dag_processing.dagbag import BundleDagBag
    from airflow.serialization.serialized_objects import DagSerialization

    bag = BundleDagBag(dag_folder=folder, bundle_path=folder, bundle_name="dags-folder")  # type: ignore[arg-type]
    found = {
        "errors": bag.import_errors,
        "seconds": {stat.file: stat.duration.total_seconds() for stat in bag.dagbag_stats},
        "dags": {dag_id: _facts(dag) for dag_id, dag in bag.dags.items()},
        "serialized": [DagSerialization.to_dict(dag)["dag"]["dag_id"] for dag in bag.dags.values()],
    }
    print(json.dumps(found, default=str))


def _facts(dag: Any) -> dict[str, Any]:
    return {
        "schedule": type(dag.timetable).__name__,
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "tasks": {
            task.task_id: {
                "upstream": sorted(task.upstream_task_ids),
                "retries": task.retries,
                "retry_delay_seconds": task.retry_delay.total_seconds(),
                "failure_callbacks": [type(call).__name__ for call in task.on_failure_callback or []],
                "outlets": [outlet.name for outlet in task.outlets],
                "gate": getattr(task, "gate", None),
            }
            for task in dag.tasks
        },
    }


if __name__ == "__main__":
    main(sys.argv[1])
