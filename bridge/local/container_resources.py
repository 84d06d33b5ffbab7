"""What a component asks of processor, memory and GPUs, as options of a container engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.local.container_engine import Engine
from bridge.spec.resources import amount, byte_count, quantity

# Docker's own floor; below it a container is refused.
_LEAST_MEMORY_BYTES = 6 * 1024 * 1024
_LEAST_CPUS = 0.01
_SHARES_PER_CPU = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """The options, the memory limit in bytes (``None``: none), and what cannot be honoured."""

    options: tuple[str, ...] = ()
    memory_bytes: int | None = None
    notes: tuple[str, ...] = ()


def limits(resources: Mapping[str, Any], engine: Engine) -> Limits:
    """The IR's resources as options. Raises ``ValueError`` for a quantity that is none.

    Limits hold as on Kubernetes, without swap. A request becomes a weight (processor) or what is kept when
    memory is short. More processors than the engine has cannot be given: it gets all there are.
    """
    options: list[str] = []
    notes: list[str] = []
    cpus = amount(resources, "resourceCpuLimit", "cpuLimit")
    if cpus:
        if cpus > engine.cpus:
            notes.append(f"The component may have {cpus:g} CPUs; this machine has {engine.cpus}.")
        options += ["--cpus", f"{max(_LEAST_CPUS, min(cpus, engine.cpus)):g}"]
    requested_cpus = amount(resources, "resourceCpuRequest", "cpuRequest")
    if requested_cpus:
        options += ["--cpu-shares", str(max(2, int(requested_cpus * _SHARES_PER_CPU)))]
    memory = byte_count(resources, "resourceMemoryLimit", "memoryLimit")
    if memory:
        memory = max(memory, _LEAST_MEMORY_BYTES)
        options += ["--memory", str(memory), "--memory-swap", str(memory)]
    requested = byte_count(resources, "resourceMemoryRequest", "memoryRequest")
    if requested and (memory is None or requested <= memory):
        options += ["--memory-reservation", str(max(requested, _LEAST_MEMORY_BYTES))]
    gpus, note = _gpus(resources.get("accelerator") or {}, engine)
    return Limits((*options, *gpus), memory, (*notes, *note))


def size(count: int) -> str:
    """Bytes for a reader: ``256 MiB``."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.4g} {unit}"


def _gpus(accelerator: Mapping[str, Any], engine: Engine) -> tuple[list[str], list[str]]:
    kind = str(accelerator.get("resourceType") or accelerator.get("type") or "accelerator")
    wanted = accelerator.get("resourceCount") or accelerator.get("count") or 0
    count = int(quantity(wanted))
    if count < 1:
        return [], []
    if not engine.has_gpus:
        return [], [
            f"{count} x {kind} is asked for; {engine.kind} here has no GPUs to give, so none is given."
        ]
    if engine.kind == "docker":
        return ["--gpus", str(count)], []
    return [word for index in range(count) for word in ("--device", f"nvidia.com/gpu={index}")], []
