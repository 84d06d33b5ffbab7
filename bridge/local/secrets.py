"""Secrets and config maps from a directory: ``DIR/<name>/<key>``, one file per key."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_KEY = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,253}")


class SecretMissing(Exception):
    """A secret or config map, or a key of it, is not there. The message says what to create."""


class SecretFiles:
    """Looks secrets and config maps up. ``folder`` is ``--secrets-dir``, ``None`` where none was given."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def value(self, kind: str, name: str, key: str) -> str:
        """The text under a key, without one line break at its end, which editors add.

        ``kind`` is the word for messages (``secret``). Raises ``SecretMissing``.
        """
        path = self._place(kind, name) / _checked(_KEY, key, f"key of the {kind} {name}")
        try:
            return path.read_text(encoding="utf-8").removesuffix("\n")
        except (FileNotFoundError, NotADirectoryError):
            raise SecretMissing(f"The {kind} {name} has no key {key}: write its value to {path}.") from None
        except UnicodeDecodeError:
            raise SecretMissing(
                f"The key {key} of the {kind} {name} is no UTF-8 text, which a variable needs: {path}."
            ) from None

    def folder_of(self, kind: str, name: str) -> Path:
        """The folder with one file per key. Raises ``SecretMissing``."""
        place = self._place(kind, name)
        if not place.is_dir():
            raise SecretMissing(f"There is no {kind} {name}: make the folder {place}, with a file per key.")
        return place

    def _place(self, kind: str, name: str) -> Path:
        if self._folder is None:
            raise SecretMissing(
                f"The task needs the {kind} {name}, and the local backend was started without "
                f"--secrets-dir: start it with --secrets-dir DIR, with a file DIR/{name}/<key> per key."
            )
        return self._folder / _checked(_NAME, name, f"name of a {kind}")


def _checked(pattern: re.Pattern[str], text: str, what: str) -> str:
    # Names come from the pipeline, and must not lead out of the folder.
    if not pattern.fullmatch(text):
        raise SecretMissing(f"{text!r} cannot be the {what} in Kubernetes.")
    return text
