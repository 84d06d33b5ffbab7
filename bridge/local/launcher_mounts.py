"""Volumes for components that run on this machine without a container.

Nothing can be mounted for a process of the user's own. What can be done is done, and said in the log: where
the mount path stands in the command line (the source of a lightweight component is part of it), its
parameters or its environment, the folder's real path is put in its place; and ``KFBRIDGE_MOUNTS`` tells
the component all of them, as JSON from mount path to folder.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from bridge.local.artifacts import BUCKET_PLACES
from bridge.local.mounts import Mount

MOUNTS_VARIABLE = "KFBRIDGE_MOUNTS"
# The kfp SDK's constants, by the place of a bucket that each is for.
_SDK_CONSTANTS = {
    "/gcs/": "_GCS_LOCAL_MOUNT_PREFIX",
    "/s3/": "_S3_LOCAL_MOUNT_PREFIX",
    "/minio/": "_MINIO_LOCAL_MOUNT_PREFIX",
}
_EXECUTOR = "kfp.dsl.executor_main"


def place_mounts(
    mounts: Sequence[Mount], words: Sequence[str], env: Mapping[str, str], own_paths: Collection[str]
) -> tuple[list[str], dict[str, str], list[str]]:
    """The words of a command line and variables with mount paths replaced, and lines for the log.

    ``own_paths`` are paths of this machine that the backend itself put there: they stay, and what is below
    them, though they may begin like a mount path.
    """
    if not mounts:
        return list(words), dict(env), []
    by_target = {mount.target: mount for mount in mounts}
    pattern = _pattern(by_target, own_paths)
    counts = dict.fromkeys(by_target, 0)

    def put(match: re.Match[str]) -> str:
        target = match["target"]
        if target is None:
            return match[0]
        counts[target] += 1
        return str(by_target[target].source)

    placed_words = [pattern.sub(put, word) for word in words]
    placed_env = {name: pattern.sub(put, value) for name, value in env.items()}
    placed_env[MOUNTS_VARIABLE] = json.dumps({target: str(m.source) for target, m in by_target.items()})
    told = [_told(mount, counts[mount.target]) for mount in by_target.values() if not mount.quiet]
    return _with_buckets(placed_words, by_target), placed_env, told


def _with_buckets(words: list[str], mounts: Mapping[str, Mount]) -> list[str]:
    """The words of a lightweight component with one statement before its source, on the line that the
    compiler leaves empty there: it tells the kfp SDK where buckets are, whose paths the SDK makes itself."""
    buckets = [place for place in BUCKET_PLACES.values() if place.rstrip("/") in mounts]
    if not buckets:
        return words
    told = "; ".join(
        f"_kfbridge_places.{_SDK_CONSTANTS[place]} = {str(mounts[place.rstrip('/')].source) + '/'!r}"
        for place in buckets
    )
    statement = f"import kfp.dsl.types.artifact_types as _kfbridge_places; {told}"
    return [
        statement + word if index > 0 and _EXECUTOR in words[index - 1] and word.startswith("\n") else word
        for index, word in enumerate(words)
    ]


def own_paths(launch_paths: Mapping[str, Any], work_dir: Path) -> set[str]:
    """The folders that an ExecutorInput names, and the attempt's own."""
    found = {str(work_dir)}
    for side in (launch_paths.get("inputs", {}), launch_paths.get("outputs", {})):
        places = [
            artifact["uri"] for item in side.get("artifacts", {}).values() for artifact in item["artifacts"]
        ]
        places += [item["outputFile"] for item in side.get("parameters", {}).values()]
        found |= {str(Path(place).parent) for place in places if place.startswith("/")}
    return found


def _pattern(targets: Collection[str], own: Collection[str]) -> re.Pattern[str]:
    """Matches a mount path where it is a path of its own or the beginning of one: not ``/data`` in
    ``/database`` or ``/my/data``, but in ``--to=/data/x`` and ``file:///data``."""
    kept = _choices(own)
    return re.compile(
        rf"(?:(?<=://)|(?<![\w./-]))(?:(?:{kept})(?=/|$|\W)|(?P<target>{_choices(targets)})(?![\w-]|\.\w))"
    )


def _choices(paths: Collection[str]) -> str:
    # The longest first, so that a path within another one is found.
    return "|".join(re.escape(path) for path in sorted(paths, key=len, reverse=True))


def _told(mount: Mount, count: int) -> str:
    access = " (only to be read, which is not enforced)" if mount.read_only else ""
    done = (
        f"{mount.target} was replaced by that {count} time{'' if count == 1 else 's'} in its command line "
        "and environment"
        if count
        else f"{mount.target} does not occur in its command line: it has to look into {MOUNTS_VARIABLE}"
    )
    return f"{mount.name[:1].upper()}{mount.name[1:]} is at {mount.source}{access}; {done}."
