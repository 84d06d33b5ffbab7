"""Named points at which a test can make the process die, as a machine does: at once, without cleaning up."""

from __future__ import annotations

import os

CRASH_EXIT_CODE = 70
_VARIABLE = "KFBRIDGE_CRASH_AT"


def crash_point(name: str) -> None:
    """Leave the process at once if ``KFBRIDGE_CRASH_AT`` holds this name; otherwise do nothing.

    Names in use: ``submit.after_claim``, ``submit.before_post``, ``submit.after_post``,
    ``track.before_record``, ``track.after_record``, ``mirror.before_store``, ``mirror.after_store``,
    ``accept.after_commit``, ``history.before_remember``.
    """
    if os.environ.get(_VARIABLE) == name:
        os._exit(CRASH_EXIT_CODE)
