"""The settings of the OpenLineage consumer that is told of runs and tasks (docs/openlineage.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator


class OpenLineageSettings(BaseModel):
    """One consumer: Marquez, DataHub, or anything else that takes run events over HTTP."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        pattern=r"^https?://",
        description="Where events are posted, path included: http://marquez:5000/api/v1/lineage.",
    )
    token: SecretStr | None = Field(default=None, description="A bearer token.")
    token_file: Path | None = Field(
        default=None, description="A file with the bearer token; read again when it changed."
    )
    headers: Mapping[str, SecretStr] = Field(
        default_factory=dict, description="Headers that are sent with every event."
    )
    namespace: str = Field(
        default="kfp.{project}",
        min_length=1,
        max_length=1024,
        description="The jobs' namespace; {backend} and {project} stand for the run's.",
    )
    producer: str = Field(
        default="urn:kfbridge:service",
        pattern=r"^[a-z][a-z0-9+.-]*:",
        description="Who events say sent them.",
    )
    timeout_seconds: float = Field(
        default=10.0, gt=0, le=60, description="How long the consumer may take for one event."
    )
    at_once: int = Field(
        default=8, ge=1, le=64, description="Runs of one backend that are told of at a time."
    )
    retry_seconds: float = Field(
        default=2.0, gt=0, le=3600, description="The pause after the first failure; it doubles each time."
    )
    longest_retry_seconds: float = Field(
        default=300.0, gt=0, le=86_400, description="The longest pause while the consumer is away."
    )
    refusals: int = Field(
        default=5,
        ge=1,
        le=100,
        description="An event that the consumer refuses (4xx) so often sets its run's events aside.",
    )
    patience_hours: float = Field(
        default=168.0,
        gt=0,
        le=8760,
        description="How long a run's events are tried at a consumer that is away before they are set aside.",
    )

    @field_validator("namespace")
    @classmethod
    def _known_fields(cls, value: str) -> str:
        try:
            value.format(backend="", project="")
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError("only {backend} and {project} may stand in braces") from error
        return value

    @model_validator(mode="after")
    def _one_token(self) -> OpenLineageSettings:
        if self.token is not None and self.token_file is not None:
            raise ValueError("openlineage: give token or token_file, not both")
        return self
