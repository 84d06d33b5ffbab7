"""The parts of the doctor that need no broken installation; and its page names every check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.lineage.checkup import network_file_system
from bridge.service.doctor.findings import MEANINGS, error, ok
from bridge.service.doctor.surroundings import check_access
from bridge.service.settings import ServiceSettings

PAGE = (Path(__file__).parents[3] / "docs" / "troubleshoot.md").read_text(encoding="utf-8")
MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /srv/shared nfs4 rw 0 0
/dev/sdb1 /srv/shared/local xfs rw 0 0
//files/team /srv/team\\040files cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/bridge", None),
        ("/srv/shared/bridge", "nfs4"),
        ("/srv/shared/local/bridge", None),
        ("/srv/team files/bridge", "cifs"),
        ("/srv/sharedness", None),
    ],
)
def test_a_network_file_system_is_told_by_the_innermost_mount(path: str, kind: str | None) -> None:
    assert network_file_system(Path(path), MOUNTS) == kind


def test_a_finding_tells_what_trouble_means_and_nothing_of_what_is_well() -> None:
    assert error("database.schema", "database", "none", "migrate").meaning == MEANINGS["database.schema"]
    assert ok("database.schema", "database", "0014").to_json()["meaning"] is None


@pytest.mark.parametrize(
    ("given", "check", "told"),
    [
        ({}, "access.open", "only this machine reaches it"),
        ({"host": "0.0.0.0"}, "access.open", "would ask nobody"),
        ({"host": "0.0.0.0", "require_tokens": True}, "access.token", "asks for a token"),
        ({"require_tokens": True}, "access.token", "asks for a token"),
        ({"api_token": "short"}, "access.token", "5 characters"),
    ],
)
def test_who_may_call_is_told_as_it_is(given: dict[str, Any], check: str, told: str) -> None:
    first = next(iter(check_access(ServiceSettings(**given))))
    assert first.check == check
    assert told in first.found


@pytest.mark.parametrize("check", MEANINGS)
def test_every_check_is_on_the_page(check: str) -> None:
    assert f"| `{check}` |" in PAGE
