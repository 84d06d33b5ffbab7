"""The components of the small pipelines, as plain functions."""

from __future__ import annotations

import pytest
from kfp.dsl import Metrics

from kfp_pipelines.failing import explode, prepare
from kfp_pipelines.hello import greet
from kfp_pipelines.shapes import add, say, square


def test_hello_greets() -> None:
    assert greet.python_func(name="Ada") == "Hello, Ada!"


def test_explode_prints_and_raises_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="the fuse was lit"):
        explode.python_func(message="the fuse was lit", lines=prepare.python_func(lines=3))
    assert capsys.readouterr().out.splitlines()[1:] == ["line 1 of 3", "line 2 of 3", "line 3 of 3"]


def test_shapes_adds_squares_and_logs_metrics() -> None:
    scores = Metrics()
    assert add.python_func(numbers=[square.python_func(number=n) for n in (1, 2, 3)], scores=scores) == 14
    assert scores.metadata == {"count": 3, "total": 14}
    assert say.python_func(text="above") == "above"
