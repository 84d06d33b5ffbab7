from __future__ import annotations

from pathlib import Path

from bridge.service.shape import planned_tasks
from bridge.spec.load import load_pipeline

COMPILED = Path(__file__).parents[3] / "kfp_pipelines" / "compiled"


def test_groups_loops_and_conditions_are_planned_as_they_are_nested() -> None:
    plan = {one.path: one for one in planned_tasks(load_pipeline(COMPILED / "shapes.yaml"))}
    loop = plan["exit-handler-1.sum-of-squares.for-loop-1"]
    assert (loop.kind, loop.loop, loop.parent) == ("dag", True, "exit-handler-1.sum-of-squares")
    assert plan["exit-handler-1.sum-of-squares.for-loop-1.square"].kind == "container"
    assert plan["exit-handler-1.sum-of-squares.add"].after == [loop.path]
    assert plan["conclude"].after == ["exit-handler-1"]


def test_an_importer_is_told_as_one() -> None:
    plan = planned_tasks(load_pipeline(COMPILED / "flight_delay.yaml"))
    assert "importer" in {one.kind for one in plan}
