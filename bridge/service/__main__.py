"""``python -m bridge.service``: serve with the settings that the environment gives."""

from __future__ import annotations

import os
import sys

from bridge.service.main import StartError, serve
from bridge.service.settings import SettingsError
from bridge.service.settings_sources import load_settings


def main() -> int:
    """The process's exit code: 2 for settings or circumstances under which it cannot start."""
    try:
        serve(load_settings(os.environ))
    except (SettingsError, StartError) as error:
        print(f"kfbridge serve: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
