"""Environments are built once per set of packages, whoever asks, and a failed build says why."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from bridge.local.environments import EnvironmentBuildError, Environments, environment_key
from bridge.spec.bootstrap import PipInstall


def make_wheel(folder: Path, name: str) -> str:
    """A wheel of one empty-handed module, made by hand so that no index is asked."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "GREETING = 'hello'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for path, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(content)}\n"
    wheel = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, content in files.items():
            archive.writestr(path, content)
        archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
    return str(wheel)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.txt"
    path.touch()
    return path


async def test_built_once_for_all_who_ask_at_the_same_time(tmp_path: Path, log: Path) -> None:
    installs = (PipInstall((make_wheel(tmp_path, "greeting"),), no_deps=True),)
    # Two objects stand for two processes that share the folder.
    several = [Environments(tmp_path / "environments") for _ in range(2)]
    found = await asyncio.gather(*(item.get(installs, log) for item in several * 2))
    assert len(set(found)) == 1
    assert log.read_text().count("Building the environment") == 1
    assert log.read_text().count("The environment is ready.") == 1
    python = found[0] / "bin" / "python"
    said = subprocess.run(
        [python, "-c", "import greeting; print(greeting.GREETING)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout == "hello\n"


async def test_a_build_that_was_cut_short_is_made_anew(tmp_path: Path, log: Path) -> None:
    installs = (PipInstall((make_wheel(tmp_path, "greeting"),), no_deps=True),)
    left = tmp_path / "environments" / environment_key(installs)
    (left / "bin").mkdir(parents=True)
    (left / "bin" / "python").write_text("rubbish")
    venv = await Environments(tmp_path / "environments").get(installs, log)
    assert venv == left
    assert (venv / "lib").exists()


async def test_a_failed_build_tells_what_the_resolver_said_and_leaves_nothing(
    tmp_path: Path, log: Path
) -> None:
    missing = str(tmp_path / "missing-1.0-py3-none-any.whl")
    environments = Environments(tmp_path / "environments")
    with pytest.raises(EnvironmentBuildError) as caught:
        await environments.get((PipInstall((missing,)),), log)
    assert "could not be built" in str(caught.value)
    assert "missing-1.0" in str(caught.value)
    left = [path for path in (tmp_path / "environments").iterdir() if path.name != "tmp"]
    assert [path.suffix for path in left] == [".lock"]


def test_the_key_tells_sets_apart() -> None:
    keys = {
        environment_key(installs)
        for installs in (
            (PipInstall(("a",)),),
            (PipInstall(("a", "b")),),
            (PipInstall(("a",)), PipInstall(("b",))),
            (PipInstall(("a",), no_deps=True),),
            (PipInstall(("a",), index_urls=("https://example.org/simple",)),),
        )
    }
    assert len(keys) == 5
