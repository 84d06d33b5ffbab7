"""The settings of Airflow's API, through which the tasks behind failed runs are cleared (docs/service.md)."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator


class AirflowSettings(BaseModel):
    """How Airflow's API is reached and who the bridge is there: a token, or a user who is given tokens. With
    neither it asks for the token that an Airflow whose users are all admins (a demo's) gives everybody."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_url: str | None = Field(
        default=None,
        pattern=r"^https?://",
        description="Where the service reaches Airflow, if not under airflow_url.",
    )
    token: SecretStr | None = Field(default=None, description="A token of Airflow's API.")
    token_file: Path | None = Field(
        default=None, description="A file with such a token; read again when it changed."
    )
    username: str | None = Field(default=None, min_length=1, description="A user who is given tokens.")
    password: SecretStr | None = Field(default=None, description="The user's password.")
    password_file: Path | None = Field(default=None, description="A file with that password.")
    ca_file: Path | None = Field(default=None, description="The CA that Airflow's certificate is of.")
    deployment: str | None = Field(
        default=None,
        description="Only tasks of this deployment (the field of the Airflow connection) are cleared. Needed "
        "where several Airflows share the bridge.",
    )
    timeout_seconds: float = Field(
        default=15.0, gt=0, le=60, description="How long Airflow may take for one answer."
    )

    @model_validator(mode="after")
    def _one_way_in(self) -> AirflowSettings:
        passwords = [one for one in (self.password, self.password_file) if one is not None]
        if len([one for one in (self.token, self.token_file, self.username) if one is not None]) > 1:
            raise ValueError("airflow: give token or token_file or username, not several of them")
        if len(passwords) != (self.username is not None):
            raise ValueError("airflow: username takes password or password_file, one of them")
        return self
