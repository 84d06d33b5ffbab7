"""The addresses of the dashboard, and the page that the service answers with."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from bridge.lineage.database import Database
from bridge.service import dashboard
from tests.unit.service.harness import Harness, harness, mirror_of
from tests.unit.service.test_repeating import origin

INDEX = (
    '<meta property="csp-nonce" nonce="kfbridge-style-nonce"><script type="module" src="/assets/a.js"></head>'
)


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like that of a built dashboard."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text(INDEX)
    (tmp_path / "assets" / "a.js").write_text("export const long = '" + "x" * 4000 + "'")
    monkeypatch.setattr(dashboard, "WEB", tmp_path)
    return tmp_path


@pytest.mark.parametrize("path", dashboard.ROUTES)
async def test_every_route_of_the_dashboard_survives_a_reload(
    built: Path, service: Harness, path: str
) -> None:
    answer = await service.client.get(path.replace("{", "").replace("}", ""))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert 'src="/assets/a.js"' in answer.text


async def test_only_styles_of_this_very_answer_are_let_in(built: Path, service: Harness) -> None:
    nonces = []
    for _ in range(2):
        answer = await service.client.get("/")
        (nonce,) = re.findall('nonce="([^"]+)"', answer.text)
        policy = answer.headers["content-security-policy"]
        assert policy.startswith(f"default-src 'self'; style-src 'self' 'nonce-{nonce}'; frame-ancestors")
        assert "unsafe" not in policy
        assert answer.headers["cache-control"] == "no-store"
        nonces.append(nonce)
    assert nonces[0] != nonces[1]


async def test_under_a_path_pages_and_files_are_found_whatever_the_proxy_leaves_of_it(
    built: Path, database: Database
) -> None:
    relative = '<meta name="kfbridge-base" content="kfbridge-base-path"><script src="./assets/a.js">'
    (built / "index.html").write_text(relative)
    async with harness(database, public_url="https://example.org/ml/kfbridge/") as service:
        for prefix in ("", "/ml/kfbridge"):
            answer = await service.client.get(f"{prefix}/runs/x")
            assert 'content="/ml/kfbridge"><script src="/ml/kfbridge/assets/a.js"' in answer.text
            assert (await service.client.get(f"{prefix}/assets/a.js")).status_code == 200
            assert (await service.client.get(f"{prefix}/api/v1/runs")).status_code == 200
            query = "dag_id=a&dag_run_id=b&task_id=c"
            gone = await service.client.get(f"{prefix}/go?{query}")
            assert gone.headers["location"] == "/ml/kfbridge/?dag_id=a&dag_run_id=b"
        assert (await service.client.get("/ml/kfbridge")).status_code == 200
        assert (await service.client.get("/ml/kfbridges")).status_code == 404
    async with harness(database) as service:
        (built / "index.html").write_text(relative)
        assert 'content=""><script src="/assets/a.js"' in (await service.client.get("/cost")).text


async def test_airflow_may_show_the_page_in_a_frame(built: Path, database: Database) -> None:
    async with harness(database, airflow_url="https://airflow.example.com/x") as service:
        policy = (await service.client.get("/")).headers["content-security-policy"]
        assert "frame-ancestors 'self' https://airflow.example.com;" in policy


async def test_built_files_are_kept_for_good_and_compressed(built: Path, database: Database) -> None:
    async with harness(database) as service:
        for _ in range(2):
            answer = await service.client.get("/assets/a.js")
            assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert answer.headers["content-encoding"] == "gzip"
            assert answer.text == (built / "assets" / "a.js").read_text()
        assert (await service.client.get("/assets/../index.html")).status_code == 404
        assert (await service.client.post("/assets/a.js")).status_code == 405
        known = {"if-none-match": answer.headers["etag"]}
        again = await service.client.get("/assets/a.js", headers=known)
        assert (again.status_code, again.content) == (304, b"")
        plain = await service.client.get("/assets/a.js", headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.text == answer.text
        assert "javascript" in plain.headers["content-type"]
        # Kept: a page that is open goes on with its own files while others are built.
        (built / "assets" / "a.js").unlink()
        assert (await service.client.get("/assets/a.js")).text == answer.text


async def test_a_page_names_what_it_is_made_of_before_a_script_asks(built: Path, service: Harness) -> None:
    chunks = {
        "index.html": {"file": "assets/a.js", "imports": ["_react.js"]},
        "_react.js": {"file": "assets/react.js"},
        "_table.js": {"file": "assets/table.js", "imports": ["_react.js"], "css": ["assets/table.css"]},
        "src/pages/runs/RunsPage.tsx": {
            "file": "assets/runs.js",
            "imports": ["index.html", "_react.js", "_table.js"],
            "css": ["assets/runs.css"],
        },
    }
    (built / "manifest.json").write_text(json.dumps(chunks))
    text = (await service.client.get("/")).text
    nonces = set(re.findall('nonce="([^"]+)"', text))
    assert len(nonces) == 1
    links = re.findall('<link rel="([a-z]+)"[^>]* href="([^"]+)"', text.partition("</head>")[0])
    assert links == [
        ("preload", dashboard.FIRST_QUESTION),
        ("modulepreload", "/assets/table.js"),
        ("modulepreload", "/assets/runs.js"),
        ("stylesheet", "/assets/table.css"),
        ("stylesheet", "/assets/runs.css"),
    ]
    filtered = (await service.client.get("/?state=FAILED")).text
    assert dashboard.FIRST_QUESTION not in filtered
    assert "/assets/runs.js" in filtered
    assert "<link" not in (await service.client.get("/compare")).text


def test_every_route_has_the_page_that_the_router_gives_it() -> None:
    source = (Path(__file__).parents[3] / "bridge" / "dashboard" / "src" / "router.tsx").read_text()
    pages = re.findall(r'path: "([^"]+)".*?import\("\./pages/([^"]+)"\)', source, re.DOTALL)
    found = {re.sub(r"\$(\w+)", lambda name: f"{{{snake(name[1])}}}", path): page for path, page in pages}
    assert found == dashboard.ROUTES


def snake(name: str) -> str:
    """``runId`` as Python writes it."""
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", name)


async def test_without_a_built_dashboard_the_page_says_what_to_do(
    service: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dashboard, "WEB", tmp_path / "nothing")
    answer = await service.client.get("/")
    assert answer.status_code == 503
    assert "make dashboard" in answer.text
    assert (await service.client.get("/api/v1/runs")).status_code == 200


async def test_go_finds_the_run_of_a_task(service: Harness) -> None:
    run = await service.submitted(None, origin=origin())
    task = {"dag_id": "retraining", "dag_run_id": "scheduled__2026-08-01", "task_id": "train"}
    found = await service.client.get("/go", params=task)
    assert (found.status_code, found.headers["location"]) == (302, f"/runs/{run['run_id']}")
    unmapped = await service.client.get("/go", params={**task, "map_index": "{MAP_INDEX}"})
    assert unmapped.headers["location"] == f"/runs/{run['run_id']}"
    assert (await service.client.get("/go", params={**task, "map_index": "x"})).status_code == 422
    missing = await service.client.get("/go", params={**task, "task_id": "other"})
    assert missing.headers["location"] == "/?dag_id=retraining&dag_run_id=scheduled__2026-08-01"


async def test_the_plan_names_the_tasks_of_the_compiled_pipeline(service: Harness) -> None:
    run = await service.submitted()
    plan = (await service.client.get(f"/api/v1/runs/{run['run_id']}/plan")).json()["items"]
    assert [(one["path"], one["kind"], one["after"]) for one in plan] == [("train", "container", [])]


async def test_a_list_tells_a_few_metrics_of_each_run_if_asked(service: Harness) -> None:
    numbers = {"evaluate.auc": 0.75, "evaluate.loss": 0.4, "train.rows": 842.0}
    measured = await service.submitted("one")
    await service.ended(measured, mirror=mirror_of(metrics=numbers))
    await service.submitted("two")
    told = (await service.client.get("/api/v1/runs?metrics=2")).json()["items"]
    assert [run["metrics"] for run in told] == [{}, {"evaluate.auc": 0.75, "evaluate.loss": 0.4}]
    assert (await service.client.get("/api/v1/runs")).json()["items"][1]["metrics"] == {}
