"""How long what is kept (docs/service.md)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


def _days(what: str) -> float | None:
    value: float | None = Field(default=None, gt=0, le=36_500, description=what)
    return value


class RetentionSettings(BaseModel):
    """After how many days what is removed; what is not given is kept for good."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    runs_days: float | None = _days("Runs that are over, with tasks, metrics and artifacts.")
    artifacts_days: float | None = _days("What is known of a run's artifacts, but models; the run stays.")
    logs_days: float | None = _days("The lines of logs that are kept with failed runs.")
    events_days: float | None = _days("Events that everybody has read.")
    every_hours: float = Field(
        default=6.0, gt=0, le=8760, description="How often workers look for what is old enough."
    )
    pause_seconds: float = Field(
        default=0.2, ge=0, le=60, description="The pause between two batches, for everybody else."
    )

    @property
    def keeps_everything(self) -> bool:
        """Whether nothing is ever removed."""
        limits = (self.runs_days, self.artifacts_days, self.logs_days, self.events_days)
        return all(limit is None for limit in limits)
