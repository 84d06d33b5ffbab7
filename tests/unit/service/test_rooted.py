from __future__ import annotations

import os
from pathlib import Path

import pytest

from bridge.service import rooted
from bridge.service.rooted import OutsideRoots, opened


def read(path: Path, *roots: Path) -> bytes:
    with opened(path, roots) as file:
        return os.read(file, 100)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "in").mkdir(parents=True)
    (tmp_path / "root" / "in" / "model").write_bytes(b"a model")
    (tmp_path / "secret").write_bytes(b"a secret")
    return tmp_path / "root"


def test_links_are_followed_within_the_roots(root: Path, tmp_path: Path) -> None:
    (root / "newest").symlink_to(root / "in")
    (tmp_path / "entry").symlink_to(root)
    assert read(root / "newest" / "model", root) == b"a model"
    assert read(tmp_path / "entry" / "in" / "model", tmp_path / "entry") == b"a model"
    assert read(tmp_path / "secret") == b"a secret"


@pytest.mark.parametrize("way", ["../secret", "in/link", "folder/secret", "in/../../secret"])
def test_nothing_outside_of_the_roots_is_opened(root: Path, tmp_path: Path, way: str) -> None:
    (root / "in" / "link").symlink_to(tmp_path / "secret")
    (root / "folder").symlink_to(tmp_path)
    with pytest.raises(OutsideRoots):
        read(root / way, root)


def test_a_link_that_comes_after_the_judgement_is_not_followed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = rooted._root_of

    def judge_and_be_tricked(real: Path, roots: tuple[Path, ...]) -> Path:
        found = judge(real, roots)
        (root / "in" / "model").unlink()
        (root / "in").rmdir()
        (tmp_path / "model").write_bytes(b"a secret")
        (root / "in").symlink_to(tmp_path)
        return found

    monkeypatch.setattr(rooted, "_root_of", judge_and_be_tricked)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(OSError, match="in"):
        read(root / "in" / "model", root)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_folders_on_the_way_are_passed_and_not_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really, flags = os.open, []

    def noting(path: str | Path, how: int, *, dir_fd: int | None = None) -> int:
        flags.append(how)
        return really(path, how, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", noting)
    assert read(root / "in" / "model", root) == b"a model"
    assert [bool(how & os.O_PATH) for how in flags] == [True, True, False]
    with opened(root, [root]) as folder:
        assert [one.name for one in os.scandir(folder)] == ["in"]
    with pytest.raises(NotADirectoryError):
        read(root / "in" / "model" / "x", root)
