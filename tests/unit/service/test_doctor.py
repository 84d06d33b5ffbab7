"""The parts of the doctor that need no broken installation; and its page names every check."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.lineage.checkup import network_file_system
from bridge.service.doctor.findings import MEANINGS, error, ok

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


@pytest.mark.parametrize("check", MEANINGS)
def test_every_check_is_on_the_page(check: str) -> None:
    assert f"| `{check}` |" in PAGE
