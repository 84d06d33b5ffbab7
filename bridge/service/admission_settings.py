"""What pipelines of a project may be: which images, and what of a machine their components may take."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class AdmissionSettings(BaseModel):
    """Rules that a compiled pipeline has to keep; what is not given is no rule, or the general one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    registries: tuple[str, ...] | None = Field(
        default=None,
        description="Beginnings of images that components may run in: registry.example.org/ml. An image "
        "without a registry is one of docker.io.",
    )
    pinned_images: bool | None = Field(
        default=None, description="Whether images must be named by their digest (name@sha256:…)."
    )
    required_limits: tuple[Literal["cpu", "memory"], ...] | None = Field(
        default=None, description="What each component must have a limit of: cpu, memory."
    )
    max_accelerators: float | None = Field(
        default=None, ge=0, le=10_000, description="Accelerators (GPUs) that one component may ask for."
    )

    def over(self, general: AdmissionSettings) -> AdmissionSettings:
        """These rules, and the general ones where these say nothing."""
        said = {name: getattr(self, name) for name in type(self).model_fields}
        return general.model_copy(update={name: value for name, value in said.items() if value is not None})
