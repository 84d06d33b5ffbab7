"""What a file of settings changes: of the database at once, of processes when they are started again."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import main
from bridge.commands.console import Console
from bridge.domain.webhooks import make_secret
from bridge.lineage import webhooks
from bridge.lineage.database import Database
from bridge.service.applying import note_settings, serving_role, shown
from bridge.service.settings_sources import load_settings

HOOK = '[[webhooks]]\nurl = "https://hooks.example/kf"\nproject = "team-a"\ntypes = ["run.settled"]\n'
BACKEND = '[[backends]]\nname = "gpu"\nurl = "http://gpu"\ntoken = "backend-secret"\n'


@dataclass
class Declared:
    """A database, and the file that says what is to be."""

    database: Database
    url: str
    file: Path

    def apply(self, text: str, *options: str) -> Any:
        """``kfbridge apply --json`` of a file with that text."""
        code, out, err = self.run(text, *options, "--json")
        assert code == 0, err
        return json.loads(out)

    def run(self, text: str, *options: str) -> tuple[int, str, str]:
        self.file.write_text(text, encoding="utf-8")
        console = Console(out=io.StringIO(), err=io.StringIO(), environ={})
        code = main(["apply", str(self.file), "--database-url", self.url, *options], console)
        return code, console.out.getvalue(), console.err.getvalue()  # type: ignore[attr-defined]

    def hooks(self) -> list[tuple[str, str, tuple[str, ...], bool]]:
        stored = self.database.read(webhooks.list_webhooks)
        return [(one.project, one.url, one.types, one.active) for one in stored]


@pytest.fixture
def declared(database: Database, tmp_path: Path) -> Declared:
    url = database.shown_url
    return Declared(database, url, tmp_path / "kfbridge.toml")


def _subjects(told: Any) -> list[tuple[str, str]]:
    return [(one["kind"], one["subject"]) for one in told["changes"]]


def test_webhooks_become_what_the_file_says(declared: Declared) -> None:
    added = [("add", "webhook https://hooks.example/kf of project team-a")]
    assert _subjects(declared.apply(HOOK, "--dry-run")) == added
    assert declared.hooks() == []
    told = declared.apply(HOOK)
    assert _subjects(told) == added
    assert told["secrets"]["https://hooks.example/kf"].startswith("whsec_")
    assert declared.hooks() == [("team-a", "https://hooks.example/kf", ("run.settled",), True)]
    assert declared.apply(HOOK)["changes"] == []
    changed = declared.apply(HOOK.replace("run.settled", "run.*") + "active = false\n")
    assert changed["changes"][0]["what"] == "types: run.settled → run.*; active: True → False"
    assert declared.hooks() == [("team-a", "https://hooks.example/kf", ("run.*",), False)]


def test_webhooks_that_the_file_does_not_name_stay_unless_they_are_to_go(declared: Declared) -> None:
    declared.apply(HOOK)
    assert declared.apply("")["changes"] == []
    assert _subjects(declared.apply("", "--prune", "--dry-run")) == [
        ("remove", "webhook https://hooks.example/kf")
    ]
    declared.apply("", "--prune")
    assert declared.hooks() == []


def test_a_secret_that_changes_is_rotated_and_never_shown(declared: Declared, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    first, second = make_secret(b"a" * 32), make_secret(b"b" * 32)
    file.write_text(first)
    text = HOOK + f'secret_file = "{file}"\n'
    assert declared.apply(text)["secrets"] == {}
    file.write_text(second)
    told = json.dumps(declared.apply(text))
    assert "for a day both sign" in told
    assert first not in told
    assert second not in told
    (hook,) = declared.database.read(webhooks.list_webhooks)
    assert hook.secrets == (second, first)


def test_prices_become_what_the_file_says(declared: Declared) -> None:
    declared.apply('[[prices]]\nresource = "cpu"\nper_hour = 0.04\n')
    told = declared.apply(
        'currency = "EUR"\n[[prices]]\nresource = "cpu"\nper_hour = 0.05\n'
        '[[prices]]\nresource = "cpu"\nbackend = "gpu"\nper_hour = 1\n[[backends]]\nname = "gpu"\nurl = "http://g"\n'
    )
    assert [(one["subject"], one["what"]) for one in told["changes"]] == [
        ("price of cpu", "0.04 USD → 0.05 EUR"),
        ("price of cpu at gpu", "1 EUR"),
    ]


def test_settings_of_processes_are_told_with_who_has_to_be_restarted(declared: Declared) -> None:
    declared.file.write_text(BACKEND + "[projects.nightly]\nmax_active_runs = 20\n")
    running = load_settings(
        {}, config_file=declared.file, overrides={"database_url": declared.url, "port": 0}
    )
    note_settings(declared.database, "serve", "host-a:17", running)
    same = BACKEND + "[projects.nightly]\nmax_active_runs = 20\n"
    assert declared.apply(same)["changes"] == []
    _, told, _ = declared.run(
        "max_active_runs = 50\n" + BACKEND + "tick_seconds = 5\n[projects.nightly]\nmax_active_runs = 30\n"
    )
    assert "~ setting backends.gpu.tick_seconds: 1.0 → 5.0\n" in told
    assert "~ setting max_active_runs: 200 → 50\n" in told
    assert "~ setting projects.nightly.max_active_runs: 20 → 30\n" in told
    assert told.count("takes effect when this is started again: serve (host-a:17)") == 3


def test_each_process_is_told_of_what_it_was_started_without(declared: Declared) -> None:
    for workers, text in ((False, ""), (True, 'public_url = "http://old"\n')):
        declared.file.write_text(text + BACKEND)
        given = {"database_url": declared.url, "workers": workers}
        settings = load_settings({}, config_file=declared.file, overrides=given)
        note_settings(declared.database, serving_role(settings), "host:1", settings)
    told = declared.apply('public_url = "http://new"\n' + BACKEND)
    assert [(one["what"], one["restart"]) for one in told["changes"]] == [
        ("http://new", ["serve (host:1)"]),
        ("http://old → http://new", ["serve with workers (host:1)"]),
    ]


def test_prices_name_who_reckons_with_others(declared: Declared) -> None:
    declared.file.write_text(BACKEND)
    settings = load_settings({}, config_file=declared.file, overrides={"database_url": declared.url})
    note_settings(declared.database, "serve with workers", "host:1", settings)
    priced = BACKEND + '[[prices]]\nresource = "cpu"\nper_hour = 0.04\n'
    told = declared.apply(priced)["changes"]
    assert [(one["subject"], one["what"], one["restart"]) for one in told] == [
        ("price of cpu", "0.04 USD", []),
        ("setting prices.cpu", "0.04 USD", ["serve with workers (host:1)"]),
    ]
    assert _subjects(declared.apply(priced)) == [("add", "setting prices.cpu")]


def test_secrets_are_not_in_what_is_stored_of_settings() -> None:
    settings = load_settings(
        {"KFBRIDGE_API_TOKEN": "canary-1", "KFBRIDGE_DATABASE_URL": "postgresql://b:canary-2@host/name"},
        overrides={
            "backends": [
                {"url": "http://u:canary-6@kfp", "ui_url": "http://canary-7@kfp", "token": "canary-3"}
            ],
            "content_options": {"s3": {"secret": "canary-4"}},
            "openlineage": {"url": "http://marquez", "token": "canary-5"},
        },
    )
    told = shown(settings)
    assert "canary" not in json.dumps(told)
    assert told["backends"][0]["url"] == "http://kfp"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[webhooks]]\nurl = "https://x"\ntypes = ["no.such"]\n', "https://x"),
        ('[[webhooks]]\nurl = "https://x"\nsecret = "short"\n', "whsec_"),
        ('[[webhooks]]\nurl = "https://x"\nsecret_file = "/nowhere/secret"\n', "cannot be read"),
        ('[[webhooks]]\nurl = "ftp://x"\n', "webhooks.1.url"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(declared: Declared, text: str, told: str) -> None:
    code, _, said = declared.run(HOOK + text)
    assert (code, told in said) == (2, True), said
    assert declared.hooks() == []
