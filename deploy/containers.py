"""A container engine and Docker Compose for ``make compose-check``, found here or started for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.laptop.processes import ManagedProcess, wait_for

ROOT = Path(__file__).resolve().parents[1]
COMPOSE_MODULE = "github.com/docker/compose/v2@v2.40.3"
_SBIN = "/usr/sbin:/sbin"
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


class CheckError(RuntimeError):
    """The check cannot go on; the message says why."""


@dataclass(frozen=True)
class Engine:
    """A Docker engine that answers; ``env`` leads its programs to it."""

    docker: str
    compose: tuple[str, ...]
    env: Mapping[str, str]

    def call(self, *words: str, seconds: float = 600) -> str:
        """What ``docker`` prints. Raises ``CheckError`` if it fails."""
        return run([self.docker, *words], env=self.env, seconds=seconds)

    def has(self, image: str) -> bool:
        """Whether the engine has an image, or gets it from its registry."""
        if self.call("images", "--quiet", image):
            return True
        command = [self.docker, "pull", "--quiet", image]
        return subprocess.run(command, env=self.env, capture_output=True, check=False).returncode == 0


def run(command: list[str], *, env: Mapping[str, str], seconds: float, show_errors: bool = False) -> str:
    """What a command prints; with ``show_errors`` what it says besides is shown as it comes. Raises
    ``CheckError`` if it fails."""
    errors = None if show_errors else subprocess.PIPE
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        timeout=seconds,
        check=False,
    )
    if done.returncode:
        told = (done.stderr or done.stdout)[-3000:]
        raise CheckError(f"{' '.join(command[:4])} … failed with exit code {done.returncode}:\n{told}")
    return done.stdout.strip()


@contextmanager
def engine() -> Iterator[Engine]:
    """The engine of this machine, or one that is started here and leaves nothing behind."""
    environment = {
        **os.environ,
        "PATH": f"{os.environ.get('PATH', os.defpath)}:{_SBIN}",
        "DOCKER_BUILDKIT": "1",
    }
    with ExitStack() as stack:
        docker = _answering(environment)
        if docker is None:
            docker, environment = stack.enter_context(_own_daemon(environment))
        yield Engine(docker, _compose(docker, environment), environment)


def _answering(env: Mapping[str, str]) -> str | None:
    for docker in _clients(env):
        done = subprocess.run([docker, "version"], env=env, capture_output=True, timeout=60, check=False)
        if done.returncode == 0:
            return docker
    return None


def _clients(env: Mapping[str, str]) -> list[str]:
    """Docker's programs, the newest Debian's before others: it builds without a plugin."""
    found = ["/usr/bin/docker", shutil.which("docker", path=env["PATH"])]
    return list(dict.fromkeys(one for one in found if one and Path(one).is_file()))


@contextmanager
def _own_daemon(env: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    run([str(ROOT / "tests" / "containers" / "install-engine")], env=env, seconds=600)
    dockerd = shutil.which("dockerd", path=env["PATH"])
    if dockerd is None or os.geteuid() != 0:
        raise CheckError("no Docker engine answers here, and only root can start one (Debian: docker.io)")
    # A socket's path must be short, and images may be larger than what /tmp holds: TMPDIR says where.
    folder = Path(tempfile.mkdtemp(prefix="kfbridge-compose-"))
    folder.chmod(0o711)
    environment = {**env, "DOCKER_HOST": f"unix://{folder}/docker.sock"}
    command = [dockerd, "--host", environment["DOCKER_HOST"], "--pidfile", str(folder / "pid")]
    command += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")]
    # Compose makes the networks that it needs, and takes them away.
    command += ["--bridge", "none"]
    rules, forwarding = run(["iptables-save"], env=env, seconds=30), _FORWARDING.read_text()
    daemon = ManagedProcess(
        "dockerd", command, env=environment, log=folder / "dockerd.log", stop_signal=signal.SIGTERM
    )
    try:

        def answers() -> str | None:
            daemon.ensure_alive()
            return _answering(environment)

        yield wait_for(answers, seconds=60, what="dockerd to answer", pause=0.2), environment
    finally:
        daemon.stop(grace_seconds=60)
        # It leaves the networks of its containers in the machine's firewall.
        subprocess.run(["iptables-restore"], env=env, input=rules + "\n", text=True, timeout=30, check=True)
        _FORWARDING.write_text(forwarding)
        _unmount_below(folder)
        shutil.rmtree(folder)


def _unmount_below(folder: Path) -> None:
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in reversed([place for place in mounts if Path(place).is_relative_to(folder)]):
        subprocess.run(["umount", "--lazy", place], check=True, timeout=20)


def _compose(docker: str, env: Mapping[str, str]) -> tuple[str, ...]:
    """Compose as Docker's plugin, as a program of its own, or built with Go once and kept in ``.cache``."""
    kept = ROOT / ".cache" / "compose" / "docker-compose"
    for words in ((docker, "compose"), ("docker-compose",), (str(kept),)):
        if shutil.which(words[0], path=env["PATH"]) is None:
            continue
        told = subprocess.run(
            [*words, "version", "--short"], env=env, capture_output=True, text=True, check=False
        )
        if told.returncode == 0 and told.stdout.strip().lstrip("v").startswith(("2.", "3.", "4.", "5.")):
            return words
    go = shutil.which("go", path=f"{env['PATH']}:/usr/local/go/bin")
    if go is None:
        raise CheckError("there is no Docker Compose 2, and no Go to build it with")
    building = {**env, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false -modcacherw"}
    run([go, "mod", "download", COMPOSE_MODULE], env=building, seconds=600)
    cache = run([go, "env", "GOMODCACHE"], env=building, seconds=60)
    kept.parent.mkdir(parents=True, exist_ok=True)
    command = [go, "build", "-C", f"{cache}/{COMPOSE_MODULE}", "-ldflags", "-s -w", "-o", str(kept), "./cmd"]
    run(command, env=building, seconds=1800)
    return (str(kept),)
