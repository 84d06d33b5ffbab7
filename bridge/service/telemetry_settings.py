"""Where traces are sent (docs/observe.md)."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class TelemetrySettings(BaseModel):
    """One collector that takes OTLP over HTTP."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str = Field(
        pattern=r"^https?://",
        description="Where spans are posted, path included: http://collector:4318/v1/traces.",
    )
    headers: Mapping[str, SecretStr] = Field(
        default_factory=dict, description="Headers that are sent with them."
    )
    service_name: str = Field(
        default="kfbridge", min_length=1, max_length=255, description="What the service is called in traces."
    )
    sample_ratio: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Which part of the traces that begin here is kept; a caller's decision is followed.",
    )
    timeout_seconds: float = Field(
        default=10.0, gt=0, le=60, description="How long the collector may take for a batch."
    )
