"""Hours and money."""

from __future__ import annotations

from bridge.domain.usage import Prices, TaskUse, hours_of

TRAIN = TaskUse(path="train", seconds=7200, cpu=2, memory_gib=8, accelerator="nvidia.com/gpu", accelerators=4)


def test_hours_are_what_was_asked_for_as_long_as_it_ran() -> None:
    plain = TaskUse(path="plain", seconds=1800, known=False)
    assert hours_of([TRAIN, TRAIN, plain], 10800) == {
        "run": 3.0,
        "cpu": 8.0,
        "memory": 32.0,
        "nvidia.com/gpu": 16.0,
        "unknown": 0.5,
    }
    assert hours_of([], 0) == {"run": 0.0}


def test_a_backends_own_price_counts_first() -> None:
    prices = Prices({("", "cpu"): 0.04, ("gpu", "cpu"): 0.05, ("", "nvidia.com/gpu"): 2.0})
    hours = {"run": 3.0, "cpu": 10.0, "memory": 5.0, "nvidia.com/gpu": 1.0, "unknown": 2.0}
    assert prices.cost("other", hours) == 2.4
    assert prices.cost("gpu", hours) == 2.5
    assert prices.unpriced("gpu", hours) == ["memory"]


def test_without_any_price_there_is_no_cost() -> None:
    assert Prices().cost("x", {"cpu": 1.0}) is None
    assert Prices({("", "cpu"): 0.0}).cost("x", {"cpu": 1.0}) == 0.0
