"""Where relative pipeline paths are looked for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.provider.compat import conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


def pipeline_folders(task: BaseOperator, ti: Any = None) -> list[Path]:
    """The DAG file's folder, the root of the DAG's bundle when a task instance tells it, the DAGs folder."""
    folders: list[Path] = []
    if task.has_dag() and task.dag.fileloc:
        folders.append(Path(task.dag.fileloc).absolute().parent)
    bundle = getattr(ti, "bundle_instance", None)
    if bundle is not None:
        folders.append(Path(bundle.path))
    folders.append(Path(conf.get("core", "dags_folder")))
    return list(dict.fromkeys(folders))
