"""Makes sure that an image is there before a container is made of it."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from pathlib import Path

from bridge.local.container_engine import Engine
from bridge.local.launcher import LaunchError, last_line, say
from bridge.local.processes import run_group


class Images:
    """The images of one engine. Siblings that need the same one wait while the first of them pulls it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def ensure(self, image: str, pull: str, log: Path) -> str:
        """Pulls the image as the policy wants (missing, always, never), and returns its id.

        What the engine says of it goes to the log. Raises ``LaunchError``, its message beginning with
        ``ImagePull``, and ``EngineError``.
        """
        async with self._locks[image]:
            if pull == "always":
                await self._pull(image, log)
            found = await self._id(image)
            if found is None and pull == "never":
                raise LaunchError(
                    f"ImagePull: the image {image} is not on this machine, and the pull policy is 'never'."
                )
            if found is None and pull != "always":
                await self._pull(image, log)
                found = await self._id(image)
            if found is None:
                raise LaunchError(f"ImagePull: {self._engine.kind} pulled {image} but does not have it.")
            return found

    async def _id(self, image: str) -> str | None:
        answer = await self._engine.call("image", "inspect", "--format", "{{.Id}}", image)
        return answer.out.strip() if answer.code == 0 else None

    async def _pull(self, image: str, log: Path) -> None:
        say(log, f"Pulling the image {image}")
        command = [self._engine.program, "pull", image]
        try:
            code = await run_group(command, env=dict(os.environ), cwd=log.parent, log=log)
        except OSError as error:
            raise LaunchError(f"ImagePull: {command[0]} could not be started: {error}.") from error
        if code != 0:
            said = await last_line(log)
            raise LaunchError(f"ImagePull: the image {image} could not be pulled: {said}")
