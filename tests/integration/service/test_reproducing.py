"""Twenty runs whose sources were modified in between get the right grade, and every exact one, really run
again, reproduces its metrics."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from bridge.client.digests import directory_digest, file_digest
from tests.integration.service.calls import submit, wait_until
from tests.support.bridge_service import BridgeService
from tests.support.handmade import artifacts, component, document, from_input, parameters, sh, task

_PINNED = f"python@sha256:{'ab' * 32}"
# Adds up the numbers in a file, or in all files of a folder.
_SUM = """
mkdir -p "$(dirname "$0")"
sum=$(find "$2" -type f -exec cat {} + | awk '{ s += $1 } END { print s + 0 }')
cat > "$0" <<END
{"artifacts": {"metrics": {"artifacts": [{"name": "m", "uri": "$1", "metadata": {"sum": $sum}}]}}}
END
"""


def _pipeline(image: str) -> str:
    executor = sh(
        *(_SUM, "{{$.outputs.output_file}}", "{{$.outputs.artifacts['metrics'].uri}}"),
        "{{$.inputs.parameters['place']}}",
    )
    executor["container"]["image"] = image
    adds = component(
        inputs=parameters(place="str"),
        output_artifacts=artifacts(metrics="Metrics"),
        executorLabel="exec-add",
    )
    tasks = {"add": task("add", "comp-add", parameters={"place": from_input("place")})}
    inputs = parameters(place="str", flights="list?", more="list?")
    return json.dumps(document(tasks, {"comp-add": adds}, {"exec-add": executor}, name="adds", inputs=inputs))


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is done to the data between the two runs, and what the grade must be, for which reasons.

    ``data`` is ``file`` or ``folder``; ``also`` names inputs elsewhere, ``told`` a version of those that is
    told of afterwards.
    """

    grade: str
    reasons: tuple[tuple[str, str], ...] = ()
    data: str = "file"
    do: Callable[[Path], object] | None = None
    image: str = _PINNED
    also: tuple[dict[str, Any], ...] = ()
    told: str | None = None
    versioned: bool = True


def _write(path: Path, *numbers: int) -> None:
    path.write_text("".join(f"{number}\n" for number in numbers))


def _restore(path: Path) -> None:
    before = path.read_text()
    _write(path, 1)
    path.write_text(before)


_S3 = {"name": "more", "uri": "s3://lake/{name}/day=05", "version": "v1", "version_kind": "s3-version"}
_MOVED, _GONE, _UNKNOWN = ("input", "moved"), ("input", "gone"), ("input", "unknown")
_TAG = ("image", "floating")
CASES = {
    "nothing": Case(grade="exact"),
    "nothing-folder": Case(grade="exact", data="folder"),
    "touched": Case(grade="exact", do=lambda path: os.utime(path, (0, 0))),
    "other-file": Case(grade="exact", do=lambda path: _write(path.with_name("other.csv"), 9)),
    "restored": Case(grade="exact", do=_restore),
    "rewritten-alike": Case(grade="exact", do=lambda path: _write(path, 1, 2, 3)),
    "overwritten": Case(grade="same-spec", reasons=(_MOVED,), do=lambda path: _write(path, 4)),
    "appended": Case(grade="same-spec", reasons=(_MOVED,), do=lambda path: _write(path, 1, 2, 3, 4)),
    "emptied": Case(grade="same-spec", reasons=(_MOVED,), do=_write),
    "part-added": Case(
        grade="same-spec", reasons=(_MOVED,), data="folder", do=lambda path: _write(path / "part-1", 5)
    ),
    "part-renamed": Case(
        grade="same-spec",
        reasons=(_MOVED,),
        data="folder",
        do=lambda path: (path / "part-0").rename(path / "part-7"),
    ),
    "part-removed": Case(
        grade="same-spec", reasons=(_MOVED,), data="folder", do=lambda path: (path / "part-0").unlink()
    ),
    "deleted": Case(grade="impossible", reasons=(_GONE,), do=Path.unlink),
    "deleted-folder": Case(grade="impossible", reasons=(_GONE,), data="folder", do=shutil.rmtree),
    "tag": Case(grade="same-spec", reasons=(_TAG,), image="python:3.11"),
    "tag-and-overwritten": Case(
        grade="same-spec", reasons=(_TAG, _MOVED), image="python:3.11", do=lambda path: _write(path, 4)
    ),
    "nobody-told-the-version": Case(grade="same-spec", reasons=(_UNKNOWN,), versioned=False),
    "far-away": Case(grade="same-spec", reasons=(_UNKNOWN,), also=(_S3,)),
    "far-away-overwritten": Case(grade="same-spec", reasons=(_MOVED,), also=(_S3,), told="v2"),
    "spec-gone": Case(grade="impossible", reasons=(("spec", "gone"),)),
}


@pytest.fixture(scope="module")
def client(bridge: BridgeService) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=bridge.url, timeout=60) as opened:
        yield opened


def _data(folder: Path, case: Case) -> tuple[Path, dict[str, Any]]:
    path = folder / "flights"
    if case.data == "folder":
        path.mkdir()
        _write(path / "part-0", 1, 2, 3)
        version, kind = directory_digest(path)[0], "manifest-sha256"
    else:
        _write(path, 1, 2, 3)
        version, kind = file_digest(path)[0], "sha256"
    told = {"version": version, "version_kind": kind} if case.versioned else {}
    return path, {"name": "flights", "uri": path.as_uri(), **told}


def _first_run(client: httpx.Client, name: str, case: Case, folder: Path) -> tuple[dict[str, Any], Path]:
    path, told = _data(folder, case)
    also = [{**item, "uri": item["uri"].format(name=name)} for item in case.also]
    # A pipeline of its own where its text is deleted.
    image = _PINNED.replace("ab", "cd") if name == "spec-gone" else case.image
    arguments = {"place": str(path)}
    return submit(client, _pipeline(image), arguments=arguments, inputs=[told, *also]), path


def _modify(client: httpx.Client, bridge: BridgeService, name: str, case: Case, path: Path) -> None:
    if case.do is not None:
        case.do(path)
    if case.told is not None:
        event = {
            "eventType": "COMPLETE",
            "eventTime": datetime.now(UTC).isoformat(),
            "producer": "https://example.org",
            "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/definitions/RunEvent",
            "run": {"runId": "01930000-0000-7000-8000-000000000001"},
            "job": {"namespace": "airflow", "name": "etl.write"},
            "outputs": [
                {
                    "namespace": "s3://lake",
                    "name": f"{name}/day=05",
                    "facets": {"version": {"datasetVersion": case.told}},
                }
            ],
        }
        assert client.post("/api/v1/lineage", json=event).status_code == 202
    if name == "spec-gone":
        with sqlite3.connect(bridge.log.parent / "bridge.db", timeout=30) as database:
            like = f"%{_PINNED.replace('ab', 'cd')}%"
            deleted = database.execute("DELETE FROM specs WHERE content LIKE ?", (like,)).rowcount
        assert deleted == 1


def _metrics(client: httpx.Client, run_id: str) -> dict[str, float]:
    scalars = client.get(f"/api/v1/runs/{run_id}/metrics").json()["scalars"]
    return {item["key"]: item["value"] for item in scalars}


def test_twenty_runs_whose_sources_were_modified(
    client: httpx.Client, bridge: BridgeService, tmp_path: Path
) -> None:
    assert len(CASES) == 20
    first: dict[str, dict[str, Any]] = {}
    paths: dict[str, Path] = {}
    for name, case in CASES.items():
        (tmp_path / name).mkdir()
        first[name], paths[name] = _first_run(client, name, case, tmp_path / name)
    first = {name: wait_until(client, run, over=True) for name, run in first.items()}
    assert {run["state"] for run in first.values()} == {"SUCCEEDED"}
    for name, case in CASES.items():
        _modify(client, bridge, name, case, paths[name])

    again: dict[str, dict[str, Any]] = {}
    for name, case in CASES.items():
        address = f"/api/v1/runs/{first[name]['run_id']}:reproduce"
        graded = client.post(address, json={"dry_run": True})
        assert graded.status_code == 200, graded.text
        found = graded.json()["reproducibility"]
        reasons = tuple((reason["kind"], reason["effect"]) for reason in found["reasons"])
        assert (found["grade"], reasons) == (case.grade, case.reasons), name
        allow = "exact" if case.grade == "exact" else "same-spec"
        answer = client.post(address, json={"allow": allow})
        assert answer.status_code == (409 if case.grade == "impossible" else 202), answer.text
        if case.grade != "impossible":
            again[name] = answer.json()["run"]
    for name, run in again.items():
        ended = wait_until(client, run, over=True)
        assert ended["labels"]["kfbridge/reproduces"] == first[name]["run_id"]
        if CASES[name].grade == "exact":
            assert ended["state"] == "SUCCEEDED"
            assert (
                _metrics(client, run["run_id"]) == _metrics(client, first[name]["run_id"]) == {"add.sum": 6.0}
            )
    assert _metrics(client, again["overwritten"]["run_id"]) == {"add.sum": 4.0}
    explained = client.get(f"/api/v1/runs/{again['overwritten']['run_id']}/explain").json()
    assert explained["inputs"][0]["version"] == file_digest(paths["overwritten"])[0]
    assert explained["reproducibility"]["grade"] == "exact"
    assert explained["caching"] is False
    refused = client.post(
        f"/api/v1/runs/{first['overwritten']['run_id']}:reproduce", json={"allow": "exact"}
    ).json()
    assert refused["type"] == "urn:kfbridge:problem:not-reproducible"
    assert [error["pointer"] for error in refused["errors"]] == ["/input"]
