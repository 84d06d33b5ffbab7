"""Finds KFP's own compiled test pipelines, which lie beside the checkout on some machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).resolve().parents[2]


def corpus_dir() -> Path | None:
    """Where KFBRIDGE_CORPUS points, else ``shared/kfp-corpus`` beside the checkout; ``None`` if absent."""
    named = os.environ.get("KFBRIDGE_CORPUS")
    folder = Path(named) if named else _CHECKOUT.parent / "shared" / "kfp-corpus"
    return folder if folder.is_dir() else None


def corpus_files(*folders: str) -> list[Path]:
    """The pipelines in these folders of the corpus, sorted; empty where there is no corpus."""
    root = corpus_dir()
    return sorted(path for name in folders for path in (root / name).glob("*.yaml")) if root else []


def corpus_file(name: str) -> Path:
    """One pipeline, such as ``critical/flip_coin.yaml``; skips the test where it is absent."""
    root = corpus_dir()
    if root is None or not (root / name).is_file():
        pytest.skip("KFP's test pipelines are not on this machine (set KFBRIDGE_CORPUS)")
    return root / name
