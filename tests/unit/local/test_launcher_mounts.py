"""Which texts are a mount path, and what takes its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.local.launcher_mounts import own_paths, place_mounts
from bridge.local.mounts import Mount

DATA = Mount(source=Path("/here/claims/data"), target="/data", name="the volume claim data")
DEEP = Mount(source=Path("/here/deep"), target="/data/deep", name="the empty folder deep")
SCRATCH = Mount(source=Path("/here/other"), target="/scratch", name="the empty folder scratch")


@pytest.mark.parametrize(
    ("text", "placed"),
    [
        ("/data", "/here/claims/data"),
        ("/data/", "/here/claims/data/"),
        ("--to=/data/x.txt", "--to=/here/claims/data/x.txt"),
        ("open('/data/x'), open(\"/data\")", "open('/here/claims/data/x'), open(\"/here/claims/data\")"),
        ('{"place": "/data/x"}', '{"place": "/here/claims/data/x"}'),
        ("file:///data/x", "file:///here/claims/data/x"),
        ("ls /data; ls /data.", "ls /here/claims/data; ls /here/claims/data."),
        ("/data/deep/x /data/deeper", "/here/deep/x /here/claims/data/deeper"),
        (
            "/database /my/data ./data data/ /data-2 /data.old",
            "/database /my/data ./data data/ /data-2 /data.old",
        ),
    ],
)
def test_where_a_mount_path_is_replaced(text: str, placed: str) -> None:
    words, env, _ = place_mounts([DATA, DEEP], [text], {"PLACE": text}, [])
    assert words == [placed]
    assert env["PLACE"] == placed


def test_what_the_backend_put_there_itself_stays() -> None:
    executor_input = {
        "inputs": {
            "artifacts": {"a": {"artifacts": [{"uri": "/scratch/kfb/artifacts/a/x"}, {"uri": "s3://b/c"}]}}
        },
        "outputs": {"parameters": {"o": {"outputFile": "/scratch/kfb/runs/r/outputs/o"}}},
    }
    own = own_paths(executor_input, Path("/scratch/kfb/runs/r"))
    assert own == {"/scratch/kfb/artifacts/a", "/scratch/kfb/runs/r/outputs", "/scratch/kfb/runs/r"}
    words, _, told = place_mounts(
        [SCRATCH],
        [
            "/scratch/x",
            "/scratch/kfb/runs/r/outputs/o",
            '{"uri": "/scratch/kfb/artifacts/a/x"}',
            "/scratch/kfb/runs/rr",
        ],
        {},
        own,
    )
    assert words == [
        "/here/other/x",
        "/scratch/kfb/runs/r/outputs/o",
        '{"uri": "/scratch/kfb/artifacts/a/x"}',
        "/here/other/kfb/runs/rr",
    ]
    assert "2 times" in told[0]


def test_without_mounts_nothing_changes() -> None:
    assert place_mounts([], ["/data"], {"A": "/data"}, []) == (["/data"], {"A": "/data"}, [])
