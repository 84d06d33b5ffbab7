"""Volumes for components that run on this machine without a container.

Nothing can be mounted for a process of the user's own. What can be done is done, and said in the log: where
the mount path stands in the command line (the source of a lightweight component is part of it), its
parameters or its environment, the folder's real path is put in its place; and ``KFBRIDGE_MOUNTS`` tells
the component all of them, as JSON from mount path to folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence

from bridge.local.mounts import Mount

MOUNTS_VARIABLE = "KFBRIDGE_MOUNTS"


def place_mounts(
    mounts: Sequence[Mount], words: Sequence[str], env: Mapping[str, str]
) -> tuple[list[str], dict[str, str], list[str]]:
    """The words of a command line and the environment with mount paths replaced, and lines for the log."""
    placed_words, placed_env = list(words), dict(env)
    if not mounts:
        return placed_words, placed_env, []
    by_target = {mount.target: mount for mount in mounts}
    pattern = _pattern(list(by_target))
    counts = dict.fromkeys(by_target, 0)

    def put(match: re.Match[str]) -> str:
        counts[match.group(0)] += 1
        return str(by_target[match.group(0)].source)

    placed_words = [pattern.sub(put, word) for word in placed_words]
    placed_env = {name: pattern.sub(put, value) for name, value in placed_env.items()}
    placed_env[MOUNTS_VARIABLE] = json.dumps({target: str(m.source) for target, m in by_target.items()})
    return placed_words, placed_env, [_told(mount, counts[mount.target]) for mount in by_target.values()]


def _pattern(targets: list[str]) -> re.Pattern[str]:
    """Matches a mount path where it is a path of its own or the beginning of one: not ``/data`` in
    ``/database`` or ``/my/data``, but in ``--to=/data/x`` and ``file:///data``."""
    # The longest first, so that a volume within another's path is found.
    choices = "|".join(re.escape(target) for target in sorted(targets, key=len, reverse=True))
    return re.compile(rf"(?:(?<=://)|(?<![\w./-]))(?:{choices})(?![\w-]|\.\w)")


def _told(mount: Mount, count: int) -> str:
    access = " (only to be read, which is not enforced)" if mount.read_only else ""
    done = (
        f"{mount.target} was replaced by that {count} time{'' if count == 1 else 's'} in its command line "
        "and environment"
        if count
        else f"{mount.target} does not occur in its command line: it has to look into {MOUNTS_VARIABLE}"
    )
    return f"{mount.name[:1].upper()}{mount.name[1:]} is at {mount.source}{access}; {done}."
