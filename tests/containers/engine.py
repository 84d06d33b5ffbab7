"""Starts a container engine for the tests alone: own storage, own socket, nothing left of it afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
_START_SECONDS = 30.0
_STOP_SECONDS = 20.0
_SBIN = "/usr/sbin:/sbin"
# Names under which one and the same root filesystem stands in for what pipelines ask for.
STAND_INS = ("python:3.11", "alpine", "registry.access.redhat.com/ubi9/python-311:latest")
SPEAKING_IMAGE = "speaking"
FOREIGN_IMAGE = "foreign"
FOREIGN_USER = 4321


@dataclass(frozen=True)
class RealEngine:
    """An engine that runs; ``env`` leads its program to it."""

    program: str
    env: Mapping[str, str]

    def call(self, *arguments: str) -> str:
        """What a call prints; fails the test if it fails."""
        done = subprocess.run(
            [self.program, *arguments],
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def containers(self) -> list[str]:
        """The names of all containers there are."""
        return self.call("ps", "--all", "--format", "{{.Names}}").splitlines()


def why_not() -> str | None:
    """Why no engine can be had here; ``None`` if one can."""
    wanted = ["dpkg-deb", "apt-get", *(["podman"] if _wants_podman() else ["docker", "dockerd"])]
    missing = [name for name in wanted if _which(name) is None]
    if os.geteuid() != 0:
        return "the tests of containers start an engine of their own, which needs root"
    return f"the tests of containers need {', '.join(missing)} (Debian: docker.io)" if missing else None


@contextmanager
def real_engine() -> Iterator[RealEngine]:
    """Docker, or Podman where ``KFBRIDGE_TEST_ENGINE=podman``, with the stand-ins for images."""
    # Not below pytest's folder, which outlives the tests; and a socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="kfbridge-engine-"))
    folder.chmod(0o711)
    try:
        subprocess.run([HERE / "make-image", folder], check=True, timeout=120, stdout=subprocess.DEVNULL)
        with _podman(folder) if _wants_podman() else _docker(folder) as engine:
            _make_images(engine, folder / "image.tar")
            yield engine
    finally:
        _unmount_below(folder)
        shutil.rmtree(folder)


@contextmanager
def _docker(folder: Path) -> Iterator[RealEngine]:
    socket, log = folder / "docker.sock", folder / "dockerd.log"
    command = [_which("dockerd") or "dockerd", "--host", f"unix://{socket}", "--pidfile", str(folder / "pid")]
    command += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
    # Containers here have no network or that of the machine: no rule of its firewall is touched.
    command += ["--bridge", "none", "--iptables=false", "--ip6tables=false", "--ip-forward=false"]
    command += ["--ip-masq=false"]
    engine = RealEngine(_which("docker") or "docker", {"DOCKER_HOST": f"unix://{socket}"})
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PATH": f"{os.environ['PATH']}:{_SBIN}"},
            start_new_session=True,
        )
    try:
        _until_it_answers(engine, process, log)
        yield engine
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _podman(folder: Path) -> Iterator[RealEngine]:
    storage = folder / "storage.conf"
    storage.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/data"\nrunroot = "{folder}/exec"\n'
    )
    # All but the storage is as the machine has it: what Podman leaves to do at a container's end does not
    # hear of a CONTAINERS_CONF.
    yield RealEngine(_which("podman") or "podman", {"CONTAINERS_STORAGE_CONF": str(storage)})


def _until_it_answers(engine: RealEngine, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        asked = subprocess.run(
            [engine.program, "version"],
            env={**os.environ, **engine.env},
            capture_output=True,
            timeout=30,
            check=False,
        )
        if asked.returncode == 0:
            return
        time.sleep(0.05)
    raise RuntimeError(f"dockerd did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _make_images(engine: RealEngine, archive: Path) -> None:
    first, *others = STAND_INS
    engine.call("import", str(archive), first)
    archive.unlink()
    for name in others:
        engine.call("tag", first, name)
    changes = {
        SPEAKING_IMAGE: ['ENTRYPOINT ["echo"]', 'CMD ["from", "the", "image"]'],
        FOREIGN_IMAGE: [f"USER {FOREIGN_USER}"],
    }
    for name, lines in changes.items():
        container = engine.call("create", first, "true")
        words = [word for line in lines for word in ("--change", line)]
        engine.call("commit", *words, container, name)
        engine.call("rm", container)


def _unmount_below(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in reversed([place for place in mounts if Path(place).is_relative_to(folder)]):
        subprocess.run(["umount", "--lazy", place], check=True, timeout=20)


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:{_SBIN}")


def _wants_podman() -> bool:
    return os.environ.get("KFBRIDGE_TEST_ENGINE") == "podman"
