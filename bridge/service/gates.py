"""The one rule that judges metrics: a CEL expression such as ``evaluate.auc >= last_good - 0.01``.

A metric is written as ``task.name``. A task whose name holds dashes is written with underscores
(``train_model.loss`` for ``train-model``); ``metrics["any key as stored"]`` always works. A bare
``last_good`` stands for the metric it is compared with, in the last good run of the same pipeline
and project; ``last_good.evaluate.auc`` and ``last_good["evaluate.auc"]`` name one. Whole numbers
may be written without a point.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from uuid import UUID

from bridge.domain.lineage import GateVerdict

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
  | (?P<number>\d+\.\d*(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\.\d+(?:[eE][+-]?\d+)?)
  | (?P<integer>\d+)(?![\w.])
  | (?P<name>[A-Za-z_]\w*)
  | (?P<operator>&&|\|\||>=|<=|==|!=|[-+*/%<>!?:(){}\[\].,])
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_CONJUNCT_ENDS = ("&&", "||", "?", ":")
_MOST_NAMED = 8
_LAST_GOOD = "last_good"
_METRICS = "metrics"
# Words and functions of CEL that can stand where a metric could.
_CEL_WORDS = frozenset({"true", "false", "null", "in"})


class GateError(ValueError):
    """The expression is no gate; the text says why, for the person who wrote it."""


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an expression; ``kind`` is the name of the pattern that matched."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class LastGood:
    """The newest good run that a gate compares with, and its metrics by key."""

    run_id: UUID
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Conjunct:
    """A part of a gate that has to hold by itself: as written, as CEL, and the metrics it asks for."""

    source: str
    text: str
    paths: tuple[str, ...]
    last_good_paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate that compiles; ``judge`` may be called any number of times."""

    expression: str
    conjuncts: tuple[Conjunct, ...]

    def judge(self, metrics: Mapping[str, float], last_good: LastGood | None) -> GateVerdict:
        """The verdict on a run with these metrics; never raises.

        Where there is no last good run, or it lacks the metric, the parts of the expression that
        compare with it count as passed, and the reason says so: somebody has to be first.
        """
        numbers: dict[str, float | None] = {}
        notes: list[str] = []
        failed: list[str] = []
        for conjunct in self.conjuncts:
            missing = self._note_numbers(conjunct, metrics, last_good, numbers)
            if missing:
                return self._verdict(None, numbers, _missing(missing, metrics), last_good)
            if conjunct.last_good_paths and (lack := _lack(conjunct, last_good)):
                notes.append(lack)
                continue
            outcome = _evaluate(conjunct.text, metrics, last_good)
            if isinstance(outcome, str):
                return self._verdict(None, numbers, outcome, last_good)
            if not outcome:
                failed.append(conjunct.source)
        if failed:
            values = ", ".join(
                f"{name} = {value:.6g}" for name, value in numbers.items() if value is not None
            )
            return self._verdict(False, numbers, f"not met: {'; '.join(failed)} ({values})", last_good)
        return self._verdict(True, numbers, "; ".join(dict.fromkeys(notes)) or "met", last_good)

    def _note_numbers(
        self,
        conjunct: Conjunct,
        metrics: Mapping[str, float],
        last_good: LastGood | None,
        numbers: dict[str, float | None],
    ) -> list[str]:
        for path in conjunct.paths:
            numbers[path] = _lookup(metrics, path)
        for path in conjunct.last_good_paths:
            numbers[f"{_LAST_GOOD}.{path}"] = _lookup(last_good.metrics, path) if last_good else None
        # An alternative may do without the metric, so only a plain comparison is missing one.
        plain = "||" not in conjunct.text and "?" not in conjunct.text and "has(" not in conjunct.text
        return [path for path in conjunct.paths if numbers[path] is None] if plain else []

    def _verdict(
        self,
        passed: bool | None,
        numbers: Mapping[str, float | None],
        reason: str,
        last_good: LastGood | None,
    ) -> GateVerdict:
        uses_last_good = any(conjunct.last_good_paths for conjunct in self.conjuncts)
        return GateVerdict(
            expression=self.expression,
            passed=passed,
            numbers=numbers,
            reason=reason,
            last_good_run=last_good.run_id if last_good and uses_last_good else None,
        )


def compile_gate(expression: str) -> Gate:
    """The gate an expression means. Raises ``GateError`` with a reason its author understands."""
    tokens = _tokens(expression)
    conjuncts = tuple(_conjunct(part) for part in _split_conjunction(tokens))
    for conjunct in conjuncts:
        if not conjunct.text:
            raise GateError("a condition is missing beside &&")
        try:
            _cel().compile(conjunct.text)
        except (ValueError, RuntimeError, TypeError) as error:
            raise GateError(_first_line(error)) from error
    if not any(conjunct.paths or conjunct.last_good_paths for conjunct in conjuncts):
        raise GateError("the expression names no metric; write one as task.name, for example evaluate.auc")
    return Gate(expression=expression, conjuncts=conjuncts)


def judge(expression: str, metrics: Mapping[str, float], last_good: LastGood | None) -> GateVerdict:
    """As ``Gate.judge``; an expression that doesn't compile gives a verdict that could not be judged."""
    try:
        gate = compile_gate(expression)
    except GateError as error:
        return GateVerdict(expression=expression, passed=None, numbers={}, reason=str(error))
    return gate.judge(metrics, last_good)


def _tokens(expression: str) -> list[Token]:
    if not expression.strip():
        raise GateError("the expression is empty")
    tokens = []
    for match in _TOKEN.finditer(expression):
        kind = match.lastgroup or "other"
        if kind != "space":
            tokens.append(Token(kind, match.group()))
    return tokens


def _split_conjunction(tokens: Sequence[Token]) -> list[list[Token]]:
    """The operands of ``&&`` outside all brackets; a whole with ``||`` or ``?`` there stays one."""
    depth = 0
    parts: list[list[Token]] = [[]]
    for token in tokens:
        if token.text in ("(", "[", "{") and token.kind == "operator":
            depth += 1
        elif token.text in (")", "]", "}") and token.kind == "operator":
            depth -= 1
        if depth == 0 and token.kind == "operator" and token.text in ("||", "?"):
            return [list(tokens)]
        if depth == 0 and token.kind == "operator" and token.text == "&&":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _conjunct(tokens: Sequence[Token]) -> Conjunct:
    paths: list[str] = []
    last_good_paths: list[str] = []
    bare: list[int] = []
    pieces: list[str] = []
    places: list[tuple[int, str]] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        if token.kind == "name":
            path, after, is_call = _read_path(tokens, index)
            head = path[0]
            if head == _LAST_GOOD and len(path) == 1 and not is_call:
                bare.append(len(pieces))
            elif head == _LAST_GOOD:
                last_good_paths.append(".".join(path[1:]))
            elif head == _METRICS and len(path) > 1:
                _remember(paths, places, len(pieces), ".".join(path[1:]))
            elif len(path) > 1 and not is_call and head not in _CEL_WORDS:
                _remember(paths, places, len(pieces), ".".join(path))
            pieces.extend(_spell(item) for item in tokens[index:after])
            index = after
        else:
            pieces.append(_spell(token))
            index += 1
    for place in bare:
        key = _beside(pieces, places, place)
        pieces[place] = f'{_LAST_GOOD}["{key}"]'
        last_good_paths.append(key)
    source = _join([token.text for token in tokens])
    return Conjunct(source, _join(pieces), tuple(dict.fromkeys(paths)), tuple(dict.fromkeys(last_good_paths)))


def _remember(paths: list[str], places: list[tuple[int, str]], place: int, path: str) -> None:
    paths.append(path)
    places.append((place, path))


def _read_path(tokens: Sequence[Token], start: int) -> tuple[list[str], int, bool]:
    """A dotted or indexed path from ``start``: its parts, where it ends, and whether it is called."""
    parts = [tokens[start].text]
    index = start + 1
    while index + 1 < len(tokens):
        follows, name = tokens[index].text, tokens[index + 1]
        if follows == "." and name.kind == "name":
            parts.append(name.text)
            index += 2
        elif (
            follows == "["
            and name.kind == "string"
            and tokens[index + 2 : index + 3] == [Token("operator", "]")]
        ):
            parts.append(name.text[1:-1])
            index += 3
        else:
            break
    is_call = index < len(tokens) and tokens[index].text == "("
    return parts, index, is_call


def _beside(pieces: Sequence[str], places: Sequence[tuple[int, str]], place: int) -> str:
    """The metric a bare ``last_good`` stands for: the nearest one before it in the same condition,
    else the nearest after it."""
    starts = [index for index, piece in enumerate(pieces[:place]) if piece in _CONJUNCT_ENDS]
    ends = [index for index, piece in enumerate(pieces) if index > place and piece in _CONJUNCT_ENDS]
    low, high = (starts[-1] if starts else -1), (ends[0] if ends else len(pieces))
    before = [path for index, path in places if low < index < place]
    after = [path for index, path in places if place < index < high]
    if not before and not after:
        raise GateError("last_good is compared with no metric; write last_good.task.name")
    return before[-1] if before else after[0]


def _spell(token: Token) -> str:
    # CEL refuses to mix whole numbers and doubles, and every metric is a double.
    return f"{token.text}.0" if token.kind == "integer" else token.text


def _join(pieces: Sequence[str]) -> str:
    text = " ".join(pieces)
    text = re.sub(r" ?([.\[(]) ", r"\1", text)
    return re.sub(r" ([\]),])", r"\1", text).strip()


def _lack(conjunct: Conjunct, last_good: LastGood | None) -> str | None:
    if last_good is None:
        return "no good run yet"
    for path in conjunct.last_good_paths:
        if _lookup(last_good.metrics, path) is None:
            return f"the last good run has no {path}"
    return None


def _lookup(metrics: Mapping[str, float], path: str) -> float | None:
    if path in metrics:
        return metrics[path]
    return next((value for key, value in metrics.items() if key.replace("-", "_") == path), None)


def _missing(paths: Sequence[str], metrics: Mapping[str, float]) -> str:
    """That the run lacks metrics, and which of those it has may be meant."""
    known = [_spelt(key) for key in sorted(metrics)]
    meant: list[str] = []
    for path in map(_spelt, paths):
        # A task inside another, or in an exit handler, has the other's name before its own.
        meant += [key for key in known if key.endswith(f".{path}")]
        meant += [key for key in known if key.rpartition(".")[2] == path.rpartition(".")[2]]
        meant += get_close_matches(path, known, n=3)
    told = list(dict.fromkeys(meant))[:_MOST_NAMED]
    hint = f"did you mean {' or '.join(told)}?" if told else _known(metrics)
    return f"the run has no metric {', '.join(paths)}; {hint}"


def _known(metrics: Mapping[str, float]) -> str:
    keys = [_spelt(key) for key in sorted(metrics)]
    more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
    return f"it has {', '.join(keys[:_MOST_NAMED])}{more}" if keys else "it has no metrics at all"


def _spelt(key: str) -> str:
    """A metric's key as an expression writes it."""
    return key.replace("-", "_")


def _evaluate(text: str, metrics: Mapping[str, float], last_good: LastGood | None) -> bool | str:
    """True or false, or why it could not be told."""
    context = _tree(metrics)
    context[_METRICS] = _tree(metrics)
    context[_LAST_GOOD] = _tree(last_good.metrics) if last_good else {}
    try:
        value = _cel().evaluate(text, context)
    except KeyError as error:
        return f"there is no metric {error.args[0] if error.args else error}; {_known(metrics)}"
    except (ValueError, TypeError, RuntimeError) as error:
        return _first_line(error)
    return value if isinstance(value, bool) else f"{text} is {type(value).__name__}, neither true nor false"


def _cel() -> Any:
    # It brings a command line of its own, a tenth of what a service imports, and few pipelines have a gate.
    import cel

    return cel


def _tree(metrics: Mapping[str, float]) -> dict[str, Any]:
    """Metrics as CEL sees them: nested by dots, underscores for dashes, and flat by their full key."""
    tree: dict[str, Any] = {}
    for key in sorted(metrics):
        node = tree
        parts = key.replace("-", "_").split(".")
        for part in parts[:-1]:
            child = node.setdefault(part, {})
            if not isinstance(child, dict):
                break
            node = child
        else:
            node.setdefault(parts[-1], metrics[key])
    for key, value in metrics.items():
        tree.setdefault(key, value)
        tree.setdefault(key.replace("-", "_"), value)
    return tree


def _first_line(error: BaseException) -> str:
    text = str(error)
    if "Syntax error: " in text:
        text = text.split("Syntax error: ", 1)[1].split(" expecting ", 1)[0].replace("'<EOF>'", "at its end")
    return text.splitlines()[0][:300] if text else type(error).__name__
