"""Loops: nested, collected twice, over nothing, over parts of items, one by one."""

from typing import List

from kfp import dsl


@dsl.component(base_image="python:3.11")
def times(a: int, b: int) -> int:
    """Multiplies."""
    return a * b


@dsl.component(base_image="python:3.11")
def total(numbers: list) -> int:
    """Adds up numbers, or lists of numbers."""
    print(repr(numbers))
    return sum(sum(n) if isinstance(n, list) else n for n in numbers)


@dsl.pipeline(name="table")
def table(rows: List[int], columns: List[int]) -> List[List[int]]:
    """Each row times each column."""
    with dsl.ParallelFor(rows) as row:
        with dsl.ParallelFor(columns) as column:
            product = times(a=row, b=column)
    return dsl.Collected(product.output)


@dsl.pipeline(name="loops")
def loops(nothing: List[int] = []) -> int:
    """A table of products, a loop over nothing, and one over parts of items."""
    made = table(rows=[1, 2], columns=[10, 20])
    added = total(numbers=made.output)
    with dsl.ParallelFor(nothing) as none:
        unborn = times(a=none, b=1)
    total(numbers=dsl.Collected(unborn.output))
    with dsl.ParallelFor([{"a": 2, "b": 3}, {"a": 4, "b": 5}]) as pair:
        times(a=pair.a, b=pair.b)
    return added.output


@dsl.container_component
def alone(place: str):
    """Fails if it is not the only one at that place."""
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-c", 'mkdir "$0/busy" && sleep 0.4 && rmdir "$0/busy" && echo alone'],
        args=[place],
    )


@dsl.pipeline(name="loops-one-by-one")
def loops_one_by_one(place: str):
    """Four iterations, of which no two may run at once."""
    with dsl.ParallelFor([1, 2, 3, 4], parallelism=1):
        alone(place=place).set_caching_options(False)
