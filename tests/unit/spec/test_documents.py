"""Reading documents: what is refused, and in which words; nothing hostile is ever built."""

from __future__ import annotations

import time

import pytest

from bridge.spec.documents import MAX_BYTES, canonical_json, read_documents, write_documents
from bridge.spec.errors import SpecError


def bomb() -> str:
    """303 bytes that would be 9^9 values."""
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for before, letter in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{letter}: &{letter} [{','.join([f'*{before}'] * 9)}]")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (bomb(), "more than 500000 values once its aliases are written out"),
        ("a: &a [*a]", "The alias *a refers to what contains it, or to nothing."),
        ("a: *nobody", "nobody"),
        ("[" * 200 + "]" * 200, "nested more than 100 levels deep"),
        ("---\na: 1\n" * 9, "more than 8 YAML documents"),
        ("a: 1\nb: 2\na: 3", "Line 3: the key 'a' stands twice in the same mapping."),
        ("? [a]\n: b", "Line 1: a key must be plain text."),
        ("1: one", "the key 1 is no text"),
        ("a: .nan", "/a: nan is no number that JSON knows."),
        ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("a: [1, 2", "not valid YAML"),
        ("a: !!binary aGVsbG8=", "/a: a bytes has no place in a pipeline."),
    ],
)
def test_refused(text: str, sentence: str) -> None:
    began = time.monotonic()
    with pytest.raises(SpecError) as caught:
        read_documents(text.encode())
    assert sentence in caught.value.problems[0]
    assert time.monotonic() - began < 5.0


def test_too_long() -> None:
    with pytest.raises(SpecError, match="bytes long"):
        read_documents(b"#" * (MAX_BYTES + 1))


def test_not_utf8() -> None:
    with pytest.raises(SpecError, match="no UTF-8 text: byte 3"):
        read_documents(b"a: \xff")


def test_values() -> None:
    text = "a: 9.0\nb: 0.5\nc: 2013-01-01\nd: [true, null, 'x']\n---\n\n---\ne: 1"
    assert read_documents(text.encode()) == [
        {"a": 9, "b": 0.5, "c": "2013-01-01", "d": [True, None, "x"]},
        {"e": 1},
    ]
    assert type(read_documents(b"a: 9.0")[0]["a"]) is int


def test_aliases_within_bounds_are_expanded_and_written_out() -> None:
    documents = read_documents(b"a: &x {k: [1]}\nb: *x")
    assert documents == [{"a": {"k": [1]}, "b": {"k": [1]}}]
    assert "&" not in write_documents(documents)


def test_json_is_yaml() -> None:
    assert read_documents(b'{"a": [1.0, "\\u00fc"]}') == [{"a": [1, "ü"]}]


def test_canonical_json_knows_no_order() -> None:
    assert canonical_json({"b": 1, "a": "ü"}) == '{"a":"ü","b":1}'.encode()
