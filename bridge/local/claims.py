"""Volume claims: folders below the data directory that outlive the run that made them, as on a cluster."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from threading import Lock

# No claim's name begins with a dot.
_MADE, _DELETED = ".made", ".deleted"
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


class ClaimError(Exception):
    """A claim cannot be made, found or deleted. The message is a sentence for the task's error."""


class Claims:
    """The claims in one folder, each a folder with its name.

    A task that was interrupted by the end of the backend is run again, and must then find its own work done
    instead of in its way: beside the claims stands who made and who deleted each, as ``task``, a text that is
    the same when the task is run again. One process uses a folder at a time.
    """

    # Runs make claims side by side, in threads.
    _lock = Lock()

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, name: str, task: str) -> Path:
        """A new, empty claim. Raises ``ClaimError`` if there is one of that name, as Kubernetes does."""
        place = self._place(name)
        with self._lock:
            if place.exists() and self._did(_MADE, name) != task:
                raise ClaimError(
                    f"The volume claim {name} exists already: choose another name, or delete it with "
                    f"DeletePVC or by removing {place}."
                )
            self._note(_MADE, name, task)
            place.mkdir(parents=True, exist_ok=True)
        return place

    def exists(self, name: str) -> bool:
        """Whether there is a claim of this name."""
        return bool(_NAME.fullmatch(name)) and self._place(name).is_dir()

    def find(self, name: str, sub_path: str = "") -> Path:
        """The folder of a claim, or a folder within it, which is made. Raises ``ClaimError``."""
        place = self._place(name)
        if not place.is_dir():
            raise ClaimError(
                f"There is no volume claim {name}: create it with CreatePVC, or make the folder {place}."
            )
        inner = (place / sub_path).resolve()
        if not inner.is_relative_to(place.resolve()):
            raise ClaimError(f"The path {sub_path!r} leads out of the volume claim {name}.")
        inner.mkdir(parents=True, exist_ok=True)
        return inner

    def delete(self, name: str, task: str) -> None:
        """Removes a claim with all that is in it. Raises ``ClaimError`` if there is none."""
        place = self._place(name)
        if place.is_dir():
            self._note(_DELETED, name, task)
            shutil.rmtree(place)
        elif self._did(_DELETED, name) != task:
            raise ClaimError(f"There is no volume claim {name} that could be deleted.")

    def _did(self, what: str, name: str) -> str | None:
        note = self._folder / what / name
        return note.read_text(encoding="utf-8") if note.is_file() else None

    def _note(self, what: str, name: str, task: str) -> None:
        note = self._folder / what / name
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(task, encoding="utf-8")

    def _place(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ClaimError(f"{name!r} cannot be the name of a volume claim in Kubernetes.")
        return self._folder / name
