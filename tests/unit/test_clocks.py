"""No claim, due time or order goes by a process's own clock: only these places look at it."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2] / "bridge"
# What is shown, or checked by another party's clock, or replaced by the database's time before it is stored,
# or bounds a sign-in of minutes, whose beginning is with the browser alone.
ALLOWED = {
    "service/accept.py": 1,
    "service/requests.py": 1,
    "service/context.py": 1,
    "service/doctor/backend.py": 3,
    "service/doctor/database.py": 1,
    "service/routes/artifacts.py": 1,
    "service/routes/history.py": 2,
    "service/routes/login.py": 2,
    "service/routes/webhooks.py": 1,
    "service/workers/deliver.py": 1,
}
CLOCKS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns"}


def looks(path: Path) -> int:
    """How often a module asks what time of day it is."""
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    return sum(ast.unparse(call.func) in CLOCKS for call in calls)


def test_11_only_what_is_shown_goes_by_a_process_clock() -> None:
    paths = [*ROOT.glob("domain/**/*.py"), *ROOT.glob("lineage/**/*.py"), *ROOT.glob("service/**/*.py")]
    found = {str(path.relative_to(ROOT)): count for path in paths if (count := looks(path))}
    assert found == ALLOWED
