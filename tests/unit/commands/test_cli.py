"""The command line as a whole: quick, light, documented."""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.cli import build_parser
from bridge.commands import failures
from tests.unit.commands.conftest import Shell

ROOT = Path(__file__).parents[3]
DOCUMENT = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
FOR_RUNS = ["run", "runs", "show", "logs", "explain", "compare", "cancel", "retry", "reproduce"]
COMMANDS = [
    "submit",
    "push",
    *FOR_RUNS,
    "quarantine",
    "backend",
    "webhooks",
    "oncall",
    "cost",
    "replay",
    "local",
    "serve",
    "worker",
    "migrate",
    "audit",
    "doctor",
    "retention",
    "token",
    "session",
    "backup",
    "restore",
    "apply",
]
HEAVY = ("asyncio", "httpx", "pydantic", "yaml", "tenacity", "rich", "fastapi", "sqlmodel", "google", "kfp")


def parsers() -> dict[str, argparse.ArgumentParser]:
    (action,) = (one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction))
    return dict(action.choices)


def sections() -> dict[str, str]:
    parts = re.split(r"^## (.+)$", DOCUMENT, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def options() -> Iterator[tuple[str, str]]:
    for name, parser in parsers().items():
        for action in parser._actions:
            if action.help != argparse.SUPPRESS and not isinstance(action, argparse._HelpAction):
                for option in action.option_strings:
                    yield name, option


def test_the_commands_are_those_that_scripts_rely_on() -> None:
    assert list(parsers()) == COMMANDS


def test_every_command_is_documented_and_no_other() -> None:
    documented = [title.removeprefix("kfbridge ") for title in sections() if title.startswith("kfbridge ")]
    assert sorted(documented) == sorted(COMMANDS)


@pytest.mark.parametrize(("command", "option"), list(options()))
def test_every_option_is_documented_where_its_command_is(command: str, option: str) -> None:
    assert re.search(rf"`{re.escape(option)}[ `]", sections()[f"kfbridge {command}"])


@pytest.mark.parametrize("command", COMMANDS)
def test_every_documented_option_exists(command: str) -> None:
    documented = set(re.findall(r"^- (.*?):", sections()[f"kfbridge {command}"], flags=re.MULTILINE))
    named = {word for line in documented for word in re.findall(r"`(-[-\w]+)", line)}
    assert named <= {option for owner, option in options() if owner == command}


def test_the_help_in_the_documentation_is_the_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    shown = DOCUMENT.split("```text\n", 1)[1].split("\n```", 1)[0]
    assert shown == build_parser().format_help().rstrip()


def test_every_exit_code_is_documented() -> None:
    codes = {value for name, value in vars(failures).items() if name.isupper() and isinstance(value, int)}
    assert {
        int(code) for code in re.findall(r"^\| (\d+) \|", sections()["Exit codes"], flags=re.MULTILINE)
    } == codes


def test_every_variable_that_commands_read_is_documented() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "bridge" / "commands").glob("*.py")]
    read = set(re.findall(r'"((?:KFBRIDGE|XDG)_[A-Z_]+|NO_COLOR)"', "\n".join(sources)))
    assert {"KFBRIDGE_URL", "KFBRIDGE_TOKEN", "XDG_CACHE_HOME"} <= read
    assert {name for name in read if f"`{name}`" not in sections()["Environment"]} == set()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help_that_says_what_it_is_for(
    command: str, kfbridge: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kfbridge(command, "--help").code == 0
    assert len(capsys.readouterr().out.splitlines()) > 5


@pytest.mark.parametrize(
    "argv", [[], ["nonsense"], ["runs", "--nonsense"], ["submit"], ["runs", "--lim", "3"]]
)
def test_wrong_usage_is_exit_code_2(argv: list[str], kfbridge: Shell) -> None:
    said = kfbridge(*argv)
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("usage: kfbridge")


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["submit", "--json"], "the following arguments are required: PIPELINE"),
        (["runs", "--json", "--limit", "0"], "argument --limit"),
        (["runs", "--nonsense", "--json"], "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_usage_is_one_json_document_for_programs(
    argv: list[str], complaint: str, kfbridge: Shell
) -> None:
    said = kfbridge(*argv)
    document = json.loads(said.err)
    assert (said.code, said.out, document["exit_code"]) == (2, "", 2)
    assert list(document) == ["error", "details", "to_do", "exit_code"]
    assert complaint in document["error"]
    assert document["to_do"] == f"'kfbridge {argv[0]} --help' shows the usage."


def test_an_unknown_option_shows_the_usage_of_its_command(kfbridge: Shell) -> None:
    said = kfbridge("cancel", "latest", "--now")
    assert said.code == 2
    assert said.err.startswith("usage: kfbridge cancel")
    assert "unrecognized arguments: --now" in said.err


def test_the_version_is_that_of_the_distribution(kfbridge: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    from importlib.metadata import version

    assert kfbridge("--version").code == 0
    assert capsys.readouterr().out == f"kfbridge {version('airflow-kfp-bridge')}\n"


def test_declaring_the_commands_imports_nothing_heavy() -> None:
    code = f"""
import sys, bridge.cli
bridge.cli.build_parser()
print([name for name in {HEAVY!r} if name in sys.modules])
"""
    probe = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert probe.stdout == "[]\n"


def test_help_is_quick() -> None:
    """Under 150 ms of processor time, at its best of several: a loaded machine must not decide."""

    def took() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "bridge.cli", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(took() for _ in range(5)) < 0.15


@pytest.mark.parametrize(
    ("argv", "extra"),
    [
        (["serve", "--kfp-url", "http://k"], "service"),
        (["worker", "--kfp-url", "http://k"], "service"),
        (["migrate"], "service"),
        (["local"], "local"),
        (["run", "training.yaml", "-a", "epochs=1"], "local"),
    ],
)
def test_a_missing_extra_is_named(argv: list[str], extra: str, training: str, tmp_path: Path) -> None:
    blocked = ("fastapi", "uvicorn", "sqlmodel", "sqlalchemy", "alembic", "google", "jinja2")
    code = f"""
import sys
for name in {blocked!r}:
    sys.modules[name] = None
import bridge.cli
sys.exit(bridge.cli.main({argv!r}))
"""
    environ = {"HOME": str(tmp_path), "PATH": ""}
    probe = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path, env=environ
    )
    assert probe.returncode == 2
    assert f"What to do: pip install 'airflow-kfp-bridge[{extra}]'" in probe.stderr
    assert "Traceback" not in probe.stderr


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["serve"], "there is no backend to run pipelines on"),
        (["serve", "--kfp-url", "localhost:8888"], "backends"),
        (["serve", "--kfp-url", "http://k", "--database-url", "mysql://x"], "database_url"),
        (["serve", "--kfp-url", "http://k", "--host", "0.0.0.0"], "api_token"),
        (["migrate", "--config", "missing.toml"], "missing.toml cannot be read"),
        (["local", "--container-ca-bundle", "missing.pem"], "missing.pem is no file"),
        (["local", "--container-env", "=x"], "write NAME=VALUE"),
        (["local", "--container-env", "NOT_SET_HERE"], "there is no such variable here"),
        (["local", "--metadata", "none"], "invalid choice"),
        (["local", "--port", "70000"], "port"),
    ],
)
def test_settings_that_make_no_sense_are_told(argv: list[str], complaint: str, kfbridge: Shell) -> None:
    said = kfbridge(*argv)
    assert said.code == 2
    assert complaint in said.err


@pytest.mark.parametrize("place", ["a-file", "a-file/below"])
def test_a_data_directory_that_cannot_be_one_is_told(place: str, kfbridge: Shell, tmp_path: Path) -> None:
    (tmp_path / "a-file").touch()
    said = kfbridge("local", "--port", "0", "--data-dir", place)
    assert said.code == 1
    assert f"the data directory {tmp_path / place} cannot be used" in said.err
    assert "give another --data-dir" in said.err
    assert "port" not in said.err


def test_a_token_that_cannot_be_sent_is_told(kfbridge: Shell) -> None:
    kfbridge.environ["KFBRIDGE_TOKEN"] = "geheimnisvöll"
    said = kfbridge("runs")
    assert said.code == 2
    assert "the API token has characters other than printable ASCII" in said.err
    assert "What to do: set KFBRIDGE_TOKEN" in said.err
    assert "geheimnis" not in said.err


def test_every_page_that_is_named_is_there() -> None:
    sources = [*(ROOT / "bridge").rglob("*.py"), ROOT / "docs" / "cli.md", ROOT / "docs" / "client.md"]
    named = {
        (source.name, first or second)
        for source in sources
        for first, second in re.findall(
            r"docs/([\w-]+\.md)|\]\(([\w-]+\.md)[#)]", source.read_text(encoding="utf-8")
        )
    }
    assert ("serving.py", "service.md") in named
    assert {(source, page) for source, page in named if not (ROOT / "docs" / page).is_file()} == set()


@pytest.mark.parametrize("command", [("run", "a.yaml"), ("replay", "latest"), ("local",)])
def test_a_folder_of_secrets_that_is_missing_is_said_at_once(
    command: tuple[str, ...], kfbridge: Shell
) -> None:
    said = kfbridge(*command, "--secrets-dir", "nowhere")
    assert said.code == failures.USAGE
    assert "--secrets-dir: there is no folder" in said.err


def test_where_artifacts_go_has_to_be_a_bucket_and_options_an_object(kfbridge: Shell) -> None:
    said = kfbridge("local", "--artifacts", "gs://models")
    assert said.code == failures.USAGE
    assert "artifacts must be s3://bucket or s3://bucket/prefix, not 'gs://models'" in said.err
    for text in ('{"key": "geheimnis"', '["geheimnis"]'):
        kfbridge.environ["KFBRIDGE_LOCAL_ARTIFACT_OPTIONS"] = text
        said = kfbridge("local")
        assert said.code == failures.USAGE
        assert "KFBRIDGE_LOCAL_ARTIFACT_OPTIONS is no JSON object" in said.err
        assert "geheimnis" not in said.err


def test_a_replay_makes_no_data_directory(kfbridge: Shell, tmp_path: Path) -> None:
    said = kfbridge("replay", "0db52c52-d6a9-4ec1-87ca-51a7d8b10d0e", "--data-dir", "mistyped")
    assert said.code == failures.USAGE
    assert "mistyped is no data directory of a local backend" in said.err
    assert not (tmp_path / "mistyped").exists()
