"""Caching: with metrics, switched off, and by a key of one's own."""

from kfp import dsl
from kfp.dsl import Metrics, Output


@dsl.component(base_image="python:3.11")
def measure(number: int, scores: Output[Metrics]) -> float:
    """Logs a metric and gives a number."""
    scores.log_metric("doubled", 2 * number)
    return number / 2


@dsl.pipeline(name="caching")
def caching(number: int = 3):
    """The same twice, of which one must not be cached."""
    measure(number=number)
    measure(number=number).set_caching_options(False)


@dsl.pipeline(name="caching-by-key")
def caching_by_key(number: int = 3):
    """One task with a key, under which another input is no other task."""
    measure(number=number).set_caching_options(enable_caching=True, cache_key="mine")
