"""How runs look in a notebook, and as a table of pandas; everything a run says of itself is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.client.comparison import CompareModel, CompareSection
    from bridge.client.models import RunModel

_ICONS = {"SUCCEEDED": "✓", "SKIPPED": "✓", "FAILED": "✗", "CANCELED": "■", "RUNNING": "▶", "PENDING": "·"}
_MOST_ROWS = 200
_MOST_CHARACTERS = 200


class Runs(list["RunModel"]):
    """Runs as a list, shown as a table in a notebook."""

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``, one row per run: what identifies it, its times and ``seconds``, who asked,
        and its parameters as ``parameters.<name>``. Raises ``ImportError`` without pandas."""
        return import_module("pandas").DataFrame([run_record(run) for run in self])

    def _repr_html_(self) -> str:
        header = ("Run", "State", "Pipeline", "Created", "Seconds", "Asked by")
        rows = [
            (
                _link(str(run.run_id)[:8], run.links.bridge),
                _state(run),
                escape(run.pipeline.name),
                _moment(run.created_at),
                _number(seconds_of(run)),
                escape(run.origin.dag_id or run.origin.scheduler or ""),
            )
            for run in self[:_MOST_ROWS]
        ]
        more = f"<p>and {len(self) - _MOST_ROWS} more</p>" if len(self) > _MOST_ROWS else ""
        return _table(header, rows) + more


def run_record(run: RunModel) -> dict[str, Any]:
    """A run as one flat row."""
    origin = run.origin
    return {
        "run_id": str(run.run_id),
        "kfp_run_id": str(run.kfp_run_id),
        "pipeline": run.pipeline.name,
        "version": run.pipeline.version_name,
        "digest": run.pipeline.digest,
        "display_name": run.display_name,
        "project": run.project,
        "backend": run.backend,
        "state": run.state,
        "good": run.good,
        "created_at": run.created_at,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "seconds": seconds_of(run),
        "scheduler": origin.scheduler,
        "team": origin.team,
        "dag_id": origin.dag_id,
        "dag_run_id": origin.dag_run_id,
        "task_id": origin.task_id,
        "error": run.error.message if run.error else None,
        "error_kind": run.error.kind if run.error else None,
        **{f"parameters.{name}": value for name, value in run.arguments.items()},
    }


def seconds_of(run: RunModel) -> float | None:
    """How long the run took; ``None`` before its end is known."""
    if run.started_at is None or run.finished_at is None:
        return None
    return (run.finished_at - run.started_at).total_seconds()


def run_html(run: RunModel) -> str:
    """One run: what it is, how it went, and its parameters."""
    facts = [
        ("Run", _link(str(run.run_id), run.links.bridge)),
        ("State", _state(run)),
        ("Pipeline", f"{escape(run.pipeline.name)} <code>{escape(run.pipeline.digest[:12])}</code>"),
        ("Backend", escape(run.backend)),
        ("Created", _moment(run.created_at)),
        ("Seconds", _number(seconds_of(run))),
        ("Asked by", escape(" ".join(part for part in (run.origin.dag_id, run.origin.dag_run_id) if part))),
        ("Why", escape(run.error.message) if run.error else ""),
        ("Gate", escape(run.gate.reason) if run.gate else ""),
        ("KFP", _link("open", run.links.kfp) if run.links.kfp else ""),
    ]
    facts += [(f"parameters.{escape(name)}", _value(value)) for name, value in run.arguments.items()]
    title = f"<h4>{escape(run.display_name)}</h4>"
    return title + _table((), [(f"<b>{name}</b>", text) for name, text in facts if text])


def comparison_html(found: CompareModel) -> str:
    """What differs between runs, section by section."""
    names = [_link(str(run.run_id)[:8], run.links.bridge) for run in found.runs]
    parts = [_section_html(section, names) for section in found.sections if section.differing]
    if not parts:
        parts = ["<p>nothing differs</p>"]
    unknown = "".join(f"<li>{escape(text)}</li>" for text in found.unknown)
    return "".join(parts) + (f"<p>Not known:</p><ul>{unknown}</ul>" if unknown else "")


def _section_html(section: CompareSection, names: Sequence[str]) -> str:
    rows = [
        (
            escape(row.name),
            *(_value(value) if known else "–" for value, known in zip(row.values, row.known, strict=True)),
            "" if row.change is None else f"{row.change:+.6g}",
        )
        for row in section.rows
        if row.differs
    ]
    return f"<h4>{escape(section.title)}</h4>" + _table(("", *names, "change"), rows)


def _state(run: RunModel) -> str:
    gate = " (good)" if run.good else ""
    return f"{_ICONS.get(run.state, '?')} {escape(run.state)}{gate}"


def _value(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return escape(text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"


def _link(text: str, url: str | None) -> str:
    # A scheduler's URL is the caller's own text: nothing but a web address becomes a link.
    if url is None or not url.startswith(("http://", "https://")):
        return escape(text)
    return f'<a href="{escape(url, quote=True)}" target="_blank" rel="noopener">{escape(text)}</a>'


def _table(header: Iterable[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>{f'<thead><tr>{head}</tr></thead>' if head else ''}<tbody>{body}</tbody></table>"
