"""Webhooks as a file of settings names them; ``kfbridge apply`` writes them into the database."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


class WebhookSettings(BaseModel):
    """One webhook; its address and project tell it apart."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern=r"^https?://", max_length=2048, description="Where events are sent.")
    project: str = Field(default="", max_length=255, description="Whose events; of all projects, if absent.")
    types: tuple[str, ...] = Field(default=(), max_length=50, description="Which events; all, if absent.")
    description: str = Field(default="", max_length=1000, description="What it is for.")
    active: bool = Field(default=True, description="Whether events are sent now, or held back.")
    secret: SecretStr | None = Field(
        default=None,
        description="What messages are signed with (whsec_…); made up and shown once, if absent.",
    )
    secret_file: Path | None = Field(default=None, description="A file that holds the secret.")

    @model_validator(mode="after")
    def _one_secret(self) -> WebhookSettings:
        if self.secret is not None and self.secret_file is not None:
            raise ValueError(f"webhook {self.url}: give secret or secret_file, not both")
        return self
