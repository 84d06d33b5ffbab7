"""What a comparison reads of runs."""

from __future__ import annotations

from dataclasses import replace

from bridge.domain.lineage import Metric
from bridge.lineage.database import Database
from bridge.lineage.mirror import store_mirror
from bridge.lineage.reading import first_metrics_of, last_metrics_of
from tests.support.lineage_samples import a_mirror, some_uuid, submit


def test_of_each_metric_the_last_step_counts(database: Database) -> None:
    run = database.transact(submit)
    steps = tuple(
        Metric(task_path="train", name="loss", value=1.0 / (step + 1), step=step) for step in (0, 9, 3)
    )
    mirror = replace(a_mirror(auc=0.9), metrics=(*a_mirror(auc=0.9).metrics, *steps))
    database.transact(lambda s: store_mirror(s, run.run_id, mirror))
    found = database.read(lambda s: last_metrics_of(s, run.run_id, limit=10))
    assert found == {"evaluate.accuracy": 0.8, "evaluate.auc": 0.9, "train.loss": 0.1}
    assert list(database.read(lambda s: last_metrics_of(s, run.run_id, limit=1))) == ["evaluate.accuracy"]
    asked = [run.run_id, some_uuid(7)]
    (first,) = database.read(lambda s: first_metrics_of(s, asked, limit=1)).items()
    assert (first[0], list(first[1])) == (run.run_id, ["evaluate.accuracy"])
