"""Without Python's garbage collector for a moment: it looks at every new tuple of a large answer again and
again, which takes as long as making them, and finds nothing."""

from __future__ import annotations

import gc
import threading
from types import TracebackType


class _Pause:
    """The collector rests as long as any thread is inside; it is left as it was found."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._was_on = False

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._was_on = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._was_on:
                gc.enable()


# One for the whole process, as the collector is. Only around what ends soon and makes no cycles.
collector_paused = _Pause()
