"""How things look in a terminal: pure functions from messages to text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bridge.commands.lognoise import without_noise

if TYPE_CHECKING:
    from bridge.client.models import ErrorModel, GateModel, OriginModel, RunModel, TaskModel

Paint = Callable[[str, str], str]

_ICONS = {
    "SUCCEEDED": ("✓", "green"),
    "SKIPPED": ("✓", "green"),
    "FAILED": ("✗", "red"),
    "CANCELED": ("■", "yellow"),
    "CANCELING": ("■", "yellow"),
    "RUNNING": ("▶", "cyan"),
    "PENDING": ("·", "dim"),
    "PAUSED": ("‖", "yellow"),
}
_ASCII = {"✓": "+", "✗": "x", "■": "#", "▶": ">", "·": ".", "‖": "=", "?": "?"}
SHORT_ID_CHARACTERS = 8
_VALUE_CHARACTERS = 120
_LOG_LINES = 15


def plain(text: str, _style: str) -> str:
    """No style at all."""
    return text


def state_text(state: str, *, paint: Paint = plain, unicode: bool = True) -> str:
    """The state with its icon: never told by colour alone."""
    icon, style = _ICONS.get(state, ("?", "dim"))
    word = "state unknown" if state == "RUNTIME_STATE_UNSPECIFIED" else state
    return paint(f"{icon if unicode else _ASCII[icon]} {word}", style)


def duration(seconds: float | None) -> str:
    """``0.4s``, ``12s``, ``3m 05s``, ``2h 10m``, ``4d 3h``."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"


def age(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago something was, in one unit."""
    if moment is None:
        return ""
    past = max(((now or datetime.now(UTC)) - moment).total_seconds(), 0.0)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if past >= size:
            return f"{past / size:.0f}{unit} ago"
    return f"{past:.0f}s ago"


def time_text(moment: datetime | None) -> str:
    """A moment in UTC to the second."""
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size_text(count: int | None) -> str:
    """Bytes as ``812 B``, ``4.2 KiB``, ``1.3 GiB``."""
    if count is None:
        return ""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def value_text(value: Any, limit: int = _VALUE_CHARACTERS) -> str:
    """A parameter's or metric's value on one line; texts as they are, everything else as JSON."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split()) if "\n" in text else text
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def short_id(run_id: Any) -> str:
    """The beginning of an id, which every command takes."""
    return str(run_id)[:SHORT_ID_CHARACTERS]


def table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, paint: Paint = plain, width: int = 1000
) -> list[str]:
    """Columns as wide as what stands in them; the last one is cut where the terminal ends."""
    widths = [max([visible_length(row[i]) for row in [header, *rows]]) for i in range(len(header))]
    lines = [paint(_line(header, widths, width), "dim")]
    return lines + [_line(row, widths, width) for row in rows]


def pairs(values: Mapping[str, str] | Sequence[tuple[str, str]], *, indent: str = "  ") -> list[str]:
    """Names and values below each other, the values aligned; empty ones are left out."""
    items = [
        (name, value) for name, value in (values.items() if isinstance(values, Mapping) else values) if value
    ]
    longest = max((visible_length(name) for name, _ in items), default=0)
    return [f"{indent}{name}{' ' * (longest - visible_length(name))}  {value}" for name, value in items]


def columns(rows: Sequence[Sequence[str]], *, indent: str = "  ") -> list[str]:
    """Rows of texts below each other, every column but the last one aligned."""
    widths = [max(visible_length(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    return [indent + _line(row, widths, 100_000) for row in rows]


def visible_length(text: str) -> int:
    """The columns a text takes, styles not counted."""
    length, inside = 0, False
    for character in text:
        if character == "\x1b":
            inside = True
        elif inside:
            inside = character != "m"
        else:
            length += 1
    return length


def run_seconds(run: RunModel, now: datetime | None = None) -> float | None:
    """How long the run has run or ran; ``None`` before it was sent."""
    begin = run.started_at or run.submitted_at
    if begin is None:
        return None
    end = run.finished_at or (now or datetime.now(UTC))
    return max((end - begin) / timedelta(seconds=1), 0.0)


def task_seconds(task: TaskModel, now: datetime | None = None) -> float | None:
    """How long the task has run or ran; ``None`` before it started."""
    if task.started_at is None:
        return None
    if task.finished_at is None and task.state != "RUNNING":
        return None
    return max(((task.finished_at or now or datetime.now(UTC)) - task.started_at).total_seconds(), 0.0)


def asked_by(origin: OriginModel | None) -> str:
    """Who asked for a run, on one line: scheduler, DAG, DagRun, task, try, user."""
    if origin is None:
        return ""
    index = f"[{origin.map_index}]" if origin.map_index >= 0 else ""
    parts = [
        origin.scheduler or "",
        f"dag {origin.dag_id}" if origin.dag_id else "",
        f"dag run {origin.dag_run_id}" if origin.dag_run_id else "",
        f"task {origin.task_id}{index}" if origin.task_id else "",
        f"try {origin.try_number}" if origin.task_id else "",
        f"user {origin.user}" if origin.user else "",
    ]
    return ", ".join(part for part in parts if part)


def error_lines(error: ErrorModel, *, paint: Paint = plain) -> list[str]:
    """Why something failed: the component, what it said, and the last lines of its log."""
    where = f"{error.task}: " if error.task else ""
    lines = [paint(f"  {where}{error.message}", "red")]
    tail = without_noise(error.log_tail)[-_LOG_LINES:]
    if tail:
        lines += ["", "  the last lines of its log:"]
        lines += [paint(f"    {line}", "dim") for line in tail]
    return lines


def gate_text(gate: GateModel, *, paint: Paint = plain) -> str:
    """A gate's verdict with the numbers it compared."""
    word, style = {True: ("passed", "green"), False: ("not passed", "red"), None: ("not judged", "yellow")}[
        gate.passed
    ]
    numbers = ", ".join(
        f"{name} = {'none' if value is None else format(value, '.6g')}"
        for name, value in gate.numbers.items()
    )
    return f"{paint(word, style)}: {gate.reason}" + (f" ({numbers})" if numbers else "")


def _line(cells: Sequence[str], widths: Sequence[int], width: int) -> str:
    padded = [cell + " " * (widths[i] - visible_length(cell)) for i, cell in enumerate(cells[:-1])]
    used = sum(visible_length(cell) + 2 for cell in padded)
    last, room = cells[-1], max(width - used, 12)
    if visible_length(last) > room:
        last = last[: room - 1] + "…"
    return "  ".join([*padded, last]).rstrip()
