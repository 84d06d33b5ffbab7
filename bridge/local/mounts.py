"""Folders of this machine that a task's container is to find at paths of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder for a container. ``source`` exists on this machine when the launch begins; ``target`` is
    the absolute path at which the component expects it. ``name`` says what it is, for the log
    (``the claim data``, ``the secret token``); of one that is ``quiet`` the log says nothing."""

    source: Path
    target: str
    name: str
    read_only: bool = False
    quiet: bool = False
