"""``kfbridge doctor`` tells broken set-ups apart, each with its remedy, and finds nothing in a sound one."""

from __future__ import annotations

import base64
import io
import json
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bridge.cli import main
from bridge.commands.console import Console
from bridge.lineage.database import Database
from tests.support.fake_kfp import FakeKfp
from tests.support.fake_kubernetes import FakeKubernetes, serve_kubernetes
from tests.support.postgres import PostgresServer, postgres_server
from tests.support.served_kfp import serve_kfp

__all__ = ["postgres_server"]


@dataclass
class Installation:
    """A sound installation, of which each test breaks one thing."""

    folder: Path
    kfp: FakeKfp
    cluster: FakeKubernetes
    settings: dict[str, Any] = field(default_factory=dict)
    backend: dict[str, Any] = field(default_factory=dict)

    def doctor(self, *options: str) -> tuple[int, str]:
        """Exit code and output of the command, run in this process."""
        file = self.folder / "kfbridge.toml"
        tables = ["[[backends]]", *_lines(self.backend)]
        file.write_text("\n".join([*_lines(self.settings), *tables]), encoding="utf-8")
        console = Console(out=io.StringIO(), err=io.StringIO(), environ={"KFBRIDGE_CONFIG": str(file)})
        code = main(["doctor", *options], console)
        return code, console.out.getvalue()  # type: ignore[attr-defined]

    def findings(self) -> list[dict[str, Any]]:
        """What ``--json`` tells that is not well; the exit code fits it."""
        code, said = self.doctor("--json")
        told = json.loads(said)
        assert code == (1 if told["errors"] else 0)
        return [one for one in told["findings"] if one["level"] != "ok"]

    def only(self) -> dict[str, Any]:
        """The one thing that is not well."""
        found = self.findings()
        assert [one["check"] for one in found] == [found[0]["check"]], found
        return found[0]


def _lines(values: dict[str, Any]) -> list[str]:
    # TOML takes JSON's texts, numbers and lists as they are; a table's name needs no quotes.
    return [f"{name} = {json.dumps(value)}" for name, value in values.items()]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    kfp = FakeKfp(token="right")
    with serve_kfp(kfp) as url, serve_kubernetes() as cluster:
        made = Installation(tmp_path, kfp, cluster)
        (tmp_path / "artifacts").mkdir()
        (tmp_path / "token").write_text("right")
        place = f"sqlite:///{tmp_path}/bridge.db"
        database = Database(place)
        database.migrate()
        database.close()
        made.settings = {"database_url": place, "content_roots": [str(tmp_path / "artifacts")]}
        made.backend = {"name": "main", "url": url, "token_file": str(tmp_path / "token")}
        yield made


def _watch(installation: Installation) -> None:
    kubeconfig = installation.cluster.write_kubeconfig(installation.folder / "config")
    installation.backend |= {"kubernetes.enabled": True, "kubernetes.kubeconfig": str(kubeconfig)}


def test_a_sound_installation_has_nothing_to_do(installation: Installation) -> None:
    _watch(installation)
    code, said = installation.doctor("--all")
    assert (code, said.splitlines()[-1].endswith("0 warnings, 0 errors")) == (0, True), said
    for check in ("database.schema", "backend.credentials", "backend.metadata", "kubernetes.rights"):
        assert (f"{check}  " in said) == (check != "backend.credentials")


def test_a_backend_that_nobody_serves(installation: Installation) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        installation.backend["url"] = f"http://127.0.0.1:{closed.getsockname()[1]}"
        found = installation.only()
    assert (found["check"], found["level"]) == ("backend.reachable", "error")
    assert "NetworkPolicy" in found["to_do"]
    assert "wait in the queue" in found["meaning"]


def test_an_address_that_is_not_kfps(installation: Installation) -> None:
    installation.backend["url"] += "/some/page"
    found = installation.only()
    assert found["check"] == "backend.answers-as-kfp"
    assert "gateway address" in found["to_do"]


def test_a_token_that_is_refused(installation: Installation) -> None:
    (installation.folder / "token").write_text("wrong")
    found = installation.only()
    assert (found["check"], found["subject"]) == ("backend.credentials", "backend main")
    assert "pipelines.kubeflow.org" in found["to_do"]


def test_a_token_that_is_missing(installation: Installation) -> None:
    del installation.backend["token_file"]
    found = installation.only()
    assert found["check"] == "backend.credentials"
    assert found["to_do"].startswith("give the backend a token")


def test_a_token_file_that_is_not_there(installation: Installation) -> None:
    (installation.folder / "token").unlink()
    found = installation.only()
    assert found["check"] == "backend.token"
    assert "mount the token" in found["to_do"]


def test_a_token_that_has_expired(installation: Installation) -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() - 60}).encode()).decode().rstrip("=")
    (installation.folder / "token").write_text(f"e30.{claims}.c2ln")
    found = installation.only()
    assert found["check"] == "backend.token"
    assert "has expired" in found["found"]
    assert "get a new token" in found["to_do"]


def test_multi_user_kfp_without_namespaces(installation: Installation) -> None:
    installation.kfp.multi_user = True
    found = installation.only()
    assert found["check"] == "backend.multi-user"
    assert "namespaces =" in found["to_do"]


def test_a_namespace_that_does_not_let_the_bridge_in(installation: Installation) -> None:
    installation.kfp.multi_user = True
    installation.kfp.forbidden_namespaces = frozenset({"team-b"})
    installation.backend["namespaces"] = ["team-a", "team-b"]
    found = installation.only()
    assert found["check"] == "backend.namespace"
    assert "team-b" in found["found"]
    assert "RoleBinding" in found["to_do"]


def test_metadata_that_is_not_carried(installation: Installation) -> None:
    installation.kfp.metadata_down = True
    found = installation.only()
    assert found["check"] == "backend.metadata"
    assert "metadata_url" in found["to_do"]


@pytest.mark.parametrize(("seconds", "level"), [(-120.0, "warning"), (900.0, "error")])
def test_clocks_that_are_apart(installation: Installation, seconds: float, level: str) -> None:
    installation.kfp.clock_off_seconds = seconds
    found = installation.only()
    assert (found["check"], found["level"]) == ("backend.clock", level)
    assert "NTP" in found["to_do"]


def test_rights_that_the_watch_lacks(installation: Installation) -> None:
    _watch(installation)
    installation.cluster.allowed -= {("watch", "workflows"), ("get", "pods/log")}
    found = installation.only()
    assert found["check"] == "kubernetes.rights"
    assert "not allowed are watch workflows, get pods/log" in found["found"]
    assert "Role" in found["to_do"]


def test_a_database_that_cannot_be_reached(installation: Installation) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        installation.settings["database_url"] = f"postgresql://bridge:hidden@127.0.0.1:{port}/bridge"
        found = installation.only()
    assert found["check"] == "database.reachable"
    assert "password" in found["to_do"]
    assert "hidden" not in json.dumps(found)


def test_a_database_that_is_not_migrated(installation: Installation, postgres_server: PostgresServer) -> None:
    name = postgres_server.create_database()
    installation.settings["database_url"] = postgres_server.url(name)
    found = installation.only()
    assert (found["check"], found["level"]) == ("database.schema", "error")
    assert "kfbridge migrate" in found["to_do"]
    postgres_server.drop_database(name)


def test_a_database_of_a_newer_version(installation: Installation) -> None:
    database = Database(installation.settings["database_url"])
    database.transact(lambda s: s.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    database.close()
    found = installation.only()
    assert found["check"] == "database.schema"
    assert "newer version" in found["to_do"]


def test_a_database_in_a_folder_that_is_not_there(installation: Installation) -> None:
    installation.settings["database_url"] = f"sqlite:///{installation.folder}/nowhere/bridge.db"
    found = installation.only()
    assert found["check"] == "database.place"
    assert "make the folder" in found["to_do"]
    assert not (installation.folder / "nowhere").exists()


def test_a_folder_of_artifacts_that_is_not_there(installation: Installation) -> None:
    (installation.folder / "artifacts").rmdir()
    found = installation.only()
    assert found["check"] == "content.roots"
    assert "content_roots" in found["to_do"]


def test_settings_that_no_service_would_start_with(installation: Installation) -> None:
    installation.settings |= {"host": "0.0.0.0", "public_url": "https://bridge.example.org"}
    found = installation.only()
    assert found["check"] == "access.open"
    assert found["level"] == "error"
    assert "api_token" in found["to_do"]


def test_a_token_that_can_be_guessed(installation: Installation) -> None:
    installation.settings |= {"api_token": "letmein", "public_url": "https://bridge.example.org"}
    code, said = installation.doctor()
    assert code == 0
    assert "! access.token" in said
    assert "what to do: take one that nobody guesses" in said


def test_a_service_without_any_backend(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/bridge.db")
    database.migrate()
    database.close()
    console = Console(out=io.StringIO(), err=io.StringIO(), environ={})
    code = main(["doctor", "--database-url", f"sqlite:///{tmp_path}/bridge.db"], console)
    said = console.out.getvalue()  # type: ignore[attr-defined]
    assert (code, "✗ backend.configured" in said) == (1, True)
