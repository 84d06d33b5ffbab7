"""What components ask of processor, memory and accelerators, as numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.spec.load import Pipeline
from bridge.spec.model import Component, ContainerSpec

_QUANTITY = re.compile(r"([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*(m|k|[KMGTPE]i?)?")
_FACTORS = {None: 1.0, "m": 1e-3, "k": 1e3}
_FACTORS |= {letter: 1000.0**power for power, letter in enumerate("KMGTPE", start=1)}
_FACTORS |= {f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTPE", start=1)}
_GIB = 1024.0**3
_INDEX = re.compile(r"\[\d+\]")


def quantity(text: Any) -> float:
    """A Kubernetes quantity (``500m``, ``1Gi``, ``2``) as a number. Raises ``ValueError``."""
    match = _QUANTITY.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"{text!r} is no quantity such as 500m, 2 or 1Gi")
    return _finite(float(match[1]) * _FACTORS[match[2]])


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(f"{number} is more than any machine has")
    return number


def amount(resources: Mapping[str, Any], text_key: str, number_key: str) -> float | None:
    """A number of the IR's resources, written as a quantity or, by older compilers, as a number.

    Raises ``ValueError`` for one that is none.
    """
    text = resources.get(text_key)
    if text not in (None, ""):
        return quantity(text)
    number = resources.get(number_key)
    return _finite(float(number)) if number else None


def byte_count(resources: Mapping[str, Any], text_key: str, number_key: str) -> int | None:
    """Bytes of the IR's resources, written as a quantity or, by older compilers, as a number.

    Raises ``ValueError`` for one that is none.
    """
    text = resources.get(text_key)
    if text not in (None, ""):
        return int(quantity(text))
    # The number that older compilers write is in units of 10^9 bytes.
    number = resources.get(number_key)
    return int(_finite(float(number) * 1e9)) if number else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a component asks for: cores, GiB, and how many of which accelerator. ``None`` is not said."""

    cpu: float | None = None
    memory_gib: float | None = None
    accelerator: str | None = None
    accelerators: float = 0.0

    @property
    def nothing(self) -> bool:
        """Whether nothing at all is asked for."""
        return self.cpu is None and self.memory_gib is None and not self.accelerators


def asked_by_task(pipeline: Pipeline, path: str) -> Asked | None:
    """What the component of the task at this path asks for: its request, else its limit.

    ``None`` if there is no such task, if it runs no container, or if what it asks for is decided only when
    it runs, or makes no sense.
    """
    component: Component | None = pipeline.model.root
    for name in _INDEX.sub("", path).split("."):
        task = component.dag.tasks.get(name) if component and component.dag else None
        component = pipeline.model.components.get(task.component) if task else None
    executor = pipeline.model.executors.get(component.executor or "") if component else None
    if not isinstance(executor, ContainerSpec):
        return None
    try:
        return asked(executor.resources)
    except (ValueError, OverflowError, TypeError, AttributeError):
        # Nobody checked what stands there: it may be anything that JSON can say.
        return None


def asked(resources: Mapping[str, Any]) -> Asked:
    """What the IR's resources ask for. Raises ``ValueError`` for a quantity that is none."""
    cpu = amount(resources, "resourceCpuRequest", "cpuRequest") or amount(
        resources, "resourceCpuLimit", "cpuLimit"
    )
    memory = byte_count(resources, "resourceMemoryRequest", "memoryRequest") or byte_count(
        resources, "resourceMemoryLimit", "memoryLimit"
    )
    accelerator = resources.get("accelerator") or {}
    count = quantity(accelerator.get("resourceCount") or accelerator.get("count") or 0)
    kind = str(accelerator.get("resourceType") or accelerator.get("type") or "accelerator")
    return Asked(
        cpu=cpu,
        memory_gib=memory / _GIB if memory else None,
        accelerator=kind if count else None,
        accelerators=count,
    )
