"""Parameters of every type, through a nested pipeline and back. kfp reads annotations and bodies as text."""

from typing import NamedTuple

from kfp import dsl


@dsl.component(base_image="python:3.11")
def look(
    text: str,
    whole: int,
    decimal: float,
    flag: bool,
    items: list,
    table: dict,
) -> NamedTuple(
    "Seen",
    [("text", str), ("whole", int), ("decimal", float), ("flag", bool), ("items", list), ("table", dict)],
):
    """Says what Python makes of its inputs, and gives them back."""
    for value in (text, whole, decimal, flag, items, table):
        print(type(value).__name__, repr(value))
    return (text, whole, decimal, flag, items, table)


@dsl.component(base_image="python:3.11")
def leave_out(note: str = "by default", missing: str = None, count: int = None) -> str:
    """Says what it gets where nothing is given."""
    return f"{note!r} {missing!r} {count!r}"


@dsl.pipeline(name="inner")
def inner(whole: int, decimal: float, items: list, note: str = None) -> int:
    looked = look(
        text="",
        whole=whole,
        decimal=decimal,
        flag=False,
        items=items,
        table={"depth": 3, "deep": {"x": [1.5]}},
    )
    leave_out(note=note)
    return looked.outputs["whole"]


@dsl.pipeline(name="values")
def values(
    text: str = "ünï \"quoted\" and 'more'",
    whole: int = 3,
    decimal: float = 2.0,
    flag: bool = True,
    items: list = [1, "two", 3.5, [True]],
    table: dict = {"b": {"c": 1}},
    note: str = None,
) -> int:
    """Every type, at the top and one level down."""
    looked = look(text=text, whole=whole, decimal=decimal, flag=flag, items=items, table=table)
    nested = inner(
        whole=looked.outputs["whole"],
        decimal=looked.outputs["decimal"],
        items=looked.outputs["items"],
        note=note,
    )
    return nested.output
