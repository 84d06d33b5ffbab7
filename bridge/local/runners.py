"""Makes the runner that the settings name."""

from __future__ import annotations

from bridge.local.container_engine import find_engine
from bridge.local.containers import ContainerRunner
from bridge.local.launcher import Runner, SubprocessRunner
from bridge.local.settings import LocalSettings


async def make_runner(settings: LocalSettings) -> Runner:
    """The runner for one backend. Raises ``EngineError`` if it needs an engine and none answers."""
    if settings.runner == "subprocess":
        return SubprocessRunner(settings.environments_dir or settings.data_dir / "environments")
    engine = await find_engine(settings.containers.engine)
    return ContainerRunner(engine, settings.containers, settings.data_dir)
