"""Caching switched for a whole pipeline."""

from __future__ import annotations

from bridge.spec.caching import with_caching


def test_caching_is_switched_for_every_task() -> None:
    tasks = {"a": {"cachingOptions": {"enableCache": True}}, "b": {}}
    inner = {"dag": {"tasks": {"c": {"cachingOptions": {"enableCache": True, "cacheKey": "k"}}}}}
    document = {"root": {"dag": {"tasks": tasks}}, "components": {"inner": inner, "leaf": {}}}
    off = with_caching(document, False)
    assert [task["cachingOptions"] for task in off["root"]["dag"]["tasks"].values()] == [{}, {}]
    assert off["components"]["inner"]["dag"]["tasks"]["c"]["cachingOptions"] == {}
    assert with_caching(document, True)["root"]["dag"]["tasks"]["b"]["cachingOptions"] == {
        "enableCache": True
    }
    assert tasks["b"] == {}
