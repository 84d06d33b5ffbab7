"""Whether a compiled pipeline keeps the rules of its project: asked before anything is recorded or sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bridge.domain.reproducibility import is_by_digest
from bridge.service.admission_settings import AdmissionSettings
from bridge.service.problems import ProblemError
from bridge.spec.load import Pipeline
from bridge.spec.model import ContainerSpec
from bridge.spec.resources import amount, byte_count, quantity

_DEFAULT_REGISTRY = "docker.io"


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that a component does not keep. ``pointer`` is the place in the pipeline's document."""

    rule: str
    component: str
    pointer: str
    told: str


def check_admission(pipeline: Pipeline, rules: AdmissionSettings, project: str) -> None:
    """Raises ``ProblemError`` not-admitted with every breach: the rule, the component and the value."""
    breaches = list(breaches_of(pipeline, rules))
    if breaches:
        told = [(one.pointer, f"{one.component}: {one.told} (rule {one.rule})") for one in breaches]
        detail = f"project {project} does not admit this pipeline: " + "; ".join(text for _, text in told[:5])
        raise ProblemError("not-admitted", detail, errors=told)


def breaches_of(pipeline: Pipeline, rules: AdmissionSettings) -> Iterator[Breach]:
    """What the pipeline's components do not keep of the rules, component by component."""
    for label, executor in pipeline.model.executors.items():
        if isinstance(executor, ContainerSpec):
            place = f"/deploymentSpec/executors/{label}/container"
            component = label.removeprefix("exec-")
            for rule, told in _of_image(executor.image, rules):
                yield Breach(rule, component, f"{place}/image", told)
            for rule, told in _of_resources(executor.resources, rules):
                yield Breach(rule, component, f"{place}/resources", told)


def full_name(image: str) -> str:
    """An image with its registry, as a container engine completes it: ``python`` is
    ``docker.io/library/python``."""
    first, slash, rest = image.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return f"{first.lower()}/{rest}"
    return f"{_DEFAULT_REGISTRY}/{image}" if slash else f"{_DEFAULT_REGISTRY}/library/{image}"


def _of_image(image: str, rules: AdmissionSettings) -> Iterator[tuple[str, str]]:
    if "{{" in image:
        # What it will be is an argument's to say, or another task's.
        if rules.registries is not None or rules.pinned_images:
            yield "registries", f"its image {image} is decided only when it runs"
        return
    if rules.registries is not None and not any(_is_of(full_name(image), one) for one in rules.registries):
        allowed = ", ".join(rules.registries) or "none"
        yield "registries", f"its image {image} is of none of the registries {allowed}"
    if rules.pinned_images and not is_by_digest(image):
        yield "pinned_images", f"its image {image} is not named by its digest (name@sha256:…)"


def _is_of(image: str, beginning: str) -> bool:
    """Whether an image lies below a registry or a folder of one; ``..`` in a path is none."""
    wanted = beginning.rstrip("/").lower()
    host, _, path = image.partition("/")
    whole = f"{host.lower()}/{path}"
    return whole.startswith((f"{wanted}/", f"{wanted}:", f"{wanted}@")) and ".." not in whole


def _of_resources(resources: Mapping[str, Any], rules: AdmissionSettings) -> Iterator[tuple[str, str]]:
    for name in rules.required_limits or ():
        try:
            limit = (
                amount(resources, "resourceCpuLimit", "cpuLimit")
                if name == "cpu"
                else byte_count(resources, "resourceMemoryLimit", "memoryLimit")
            )
        except (ValueError, OverflowError, TypeError) as error:
            yield (
                "required_limits",
                f"its {name} limit makes no sense, or is decided only when it runs: {error}",
            )
            continue
        if not limit:
            yield "required_limits", f"it has no {name} limit"
    if rules.max_accelerators is None:
        return
    accelerator = resources.get("accelerator") or {}
    try:
        asked = quantity(accelerator.get("resourceCount") or accelerator.get("count") or 0)
    except (ValueError, OverflowError, TypeError, AttributeError) as error:
        yield "max_accelerators", f"how many accelerators it takes is decided only when it runs: {error}"
        return
    if asked > rules.max_accelerators:
        told = f"it asks for {asked:g} accelerators; at most {rules.max_accelerators:g} are allowed"
        yield "max_accelerators", told
