"""Names of a pipeline's versions that can be moved, and their spelling ``pipeline@alias``."""

from __future__ import annotations

import re

MAX_ALIAS_LENGTH = 63
_ALIAS = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_ALIAS_LENGTH - 1}}}")
_FILES = (".yaml", ".yml", ".json", ".py")


def alias_problem(alias: str) -> str | None:
    """What is wrong with the name of an alias; ``None`` if nothing is."""
    if _ALIAS.fullmatch(alias):
        return None
    return (
        f"an alias is a letter or digit followed by letters, digits, '.', '_' and '-', {MAX_ALIAS_LENGTH} "
        f"characters at most; {alias[:80]!r} is none"
    )


def split_alias(text: str) -> tuple[str, str] | None:
    """Pipeline and alias of ``pipeline@alias``; ``None`` for a path, a URL and a name without an alias."""
    name, mark, alias = text.strip().rpartition("@")
    if not mark or not name.strip() or "/" in text or "\\" in text or text.lower().endswith(_FILES):
        return None
    return (name.strip(), alias) if alias_problem(alias) is None else None
