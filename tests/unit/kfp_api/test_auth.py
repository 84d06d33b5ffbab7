"""Tokens from values and from files that somebody else rotates."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.kfp_api.auth import TokenSource
from bridge.kfp_api.errors import KfpAuthError


def test_a_value_is_stripped_and_never_shown() -> None:
    source = TokenSource.from_value("  abc.def\n")
    assert source.token() == "abc.def"
    assert source.refresh() is False
    assert "abc" not in repr(source)


@pytest.mark.parametrize("value", ["", "  ", "two words", "line\nbreak", "ümlaut", "a\x00b"])
def test_what_cannot_stand_in_a_header_is_refused_at_once(value: str) -> None:
    with pytest.raises(KfpAuthError, match="bearer token"):
        TokenSource.from_value(value)


def test_neither_or_both_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="either"):
        TokenSource()
    with pytest.raises(ValueError, match="either"):
        TokenSource(value="a", path=tmp_path / "t")


def test_a_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first\n")
    source = TokenSource.from_file(path)
    assert source.token() == "first"
    path.write_text("second-one\n")
    assert source.token() == "second-one"


def test_a_projected_token_rotates_by_replacing_a_link(tmp_path: Path) -> None:
    old, new, link = tmp_path / "old", tmp_path / "new", tmp_path / "token"
    old.write_text("AAAA")
    new.write_text("BBBB")
    link.symlink_to(old)
    source = TokenSource.from_file(link)
    assert source.token() == "AAAA"
    link.unlink()
    link.symlink_to(new)
    assert source.token() == "BBBB"


def test_refresh_tells_whether_the_token_is_another(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    source = TokenSource.from_file(path)
    assert source.token() == "one"
    assert source.refresh() is False
    path.write_text("two")
    assert source.refresh() is True
    assert source.token() == "two"


def test_a_file_that_is_missing_empty_or_huge_is_an_auth_error(tmp_path: Path) -> None:
    with pytest.raises(KfpAuthError, match="cannot be read"):
        TokenSource.from_file(tmp_path / "none").token()
    for name, content in (("empty", b""), ("huge", b"a" * 100_000), ("binary", b"\xff\xfe\xfd")):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(KfpAuthError, match=name):
            TokenSource.from_file(path).token()
