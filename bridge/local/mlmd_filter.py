"""The part of MLMD's filter language that clients of KFP use, as SQL.

AND-ed comparisons of a node's own attributes, of its custom properties and of its contexts, for example
``last_update_time_since_epoch >= 1700000000000 AND contexts_run.name = 'abc'``.
Source: ml_metadata/query/filter_query_builder of MLMD.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from bridge.local.store_listing import Conditions

_LITERAL = r"""-?\d+(?:\.\d+)?|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_LITERALS = re.compile(_LITERAL)
_TERM = re.compile(
    rf"\s*(?P<name>[A-Za-z_][\w.`]*)\s*(?:(?P<operation><=|>=|!=|<>|=|<|>|LIKE\b)\s*(?P<literal>{_LITERAL})"
    rf"|IN\s*\(\s*(?P<several>(?:{_LITERAL})(?:\s*,\s*(?:{_LITERAL}))*)\s*\))\s*",
    re.IGNORECASE,
)
_AND = re.compile(r"AND\b", re.IGNORECASE)
_PROPERTY = re.compile(r"(?:custom_properties|properties)\.`?([\w-]+)`?\.(int|double|string|bool)_value")
_CONTEXT = re.compile(r"contexts_\w+\.(id|name|type)")
_MAX_TERMS = 50


class FilterError(ValueError):
    """A filter that is not understood; MLMD answers INVALID_ARGUMENT then."""


def add_filter(conditions: Conditions, text: str, own: Mapping[str, str], context_link: str) -> None:
    """Add a filter query to a WHERE clause.

    ``own`` maps MLMD's attribute names to columns; ``context_link`` is the table and column that ties the
    node to contexts (``mlmd_associations.execution_id``). Raises ``FilterError``.
    """
    position, terms = 0, 0
    while position < len(text):
        match = _TERM.match(text, position)
        if match is None or terms >= _MAX_TERMS:
            raise FilterError(f"filter_query is not understood at {text[position : position + 40]!r}")
        _add_term(conditions, match, own, context_link)
        position, terms = match.end(), terms + 1
        if position < len(text):
            joint = _AND.match(text, position)
            if joint is None:
                raise FilterError(f"filter_query: AND is expected at {text[position : position + 40]!r}")
            position = joint.end()


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return float(text) if "." in text else int(text)


def _comparison(match: re.Match[str]) -> tuple[Any, str]:
    """The value and the SQL that compares with it."""
    if match["several"] is not None:
        # One argument however many values: SQLite bounds the number of arguments.
        values = [_literal(one) for one in _LITERALS.findall(match["several"])]
        return json.dumps(values), "IN (SELECT value FROM json_each(?))"
    operation = match["operation"].upper()
    return _literal(match["literal"]), f"{'<>' if operation == '!=' else operation} ?"


def _add_term(conditions: Conditions, match: re.Match[str], own: Mapping[str, str], link: str) -> None:
    name, value, comparison = match["name"], *_comparison(match)
    column = own.get(name)
    if column is not None:
        conditions.add(f"{column} {comparison}", value)
        return
    found = _PROPERTY.fullmatch(name)
    if found is not None:
        conditions.add(f"json_extract(node.custom_properties, ?) {comparison}", f'$."{found[1]}"', value)
        return
    found = _CONTEXT.fullmatch(name)
    if found is None:
        raise FilterError(f"filter_query: unknown attribute {name!r}")
    table, key = link.split(".")
    wanted = {"id": "context.id", "name": "context.name", "type": "type.name"}[found[1]]
    conditions.add(
        f"node.id IN (SELECT tie.{key} FROM mlmd_contexts AS context "  # noqa: S608
        f"JOIN mlmd_types AS type ON type.id = context.type_id "
        f"JOIN {table} AS tie ON tie.context_id = context.id WHERE {wanted} {comparison})",
        value,
    )
