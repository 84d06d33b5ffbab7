"""Recognises the shell text by which a compiled lightweight component installs its packages.

The kfp compiler writes ``sh -c '<install with pip> && "$0" "$@"' <the real command>``. Its templates
(kfp 2.0 – 2.17, ``dsl/component_factory.py``) vary in details: user packages before kfp, index URLs,
trusted hosts, a venv in a temporary folder, ``--no-deps``. Anything else is left alone: a command
that only resembles the template runs as it is.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

_PIP = re.compile(r"python3? -m pip install ")
_ENSURE_PIP = re.compile(
    r"if ! \[ -x \"\$\(command -v pip\)\" \]; then\s+python3 -m ensurepip[^\n]*\n\s*fi\n"
)
_VENV = re.compile(
    r"(export )?PIP_DISABLE_PIP_VERSION_CHECK=1\s+tmp=\$\(mktemp -d\)\s+"
    r"python3 -m venv \"\$tmp/venv\" --system-site-packages\s+\. \"\$tmp/venv/bin/activate\"\s+"
)
_CONTINUE = re.compile(r"&&\s*\"\$0\"\s+\"\$@\"\s*$")
_OPTIONS_WITH_VALUE = frozenset(
    {"--index-url", "-i", "--extra-index-url", "--trusted-host", "--find-links", "-f"}
)
_IGNORED_FLAGS = frozenset({"--quiet", "-q", "--no-warn-script-location", "--user", "--upgrade", "-U"})


@dataclass(frozen=True, slots=True)
class PipInstall:
    """One ``pip install``: what, from which indexes, and whether without dependencies."""

    requirements: tuple[str, ...]
    no_deps: bool = False
    index_urls: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """The installs of a component, in order, and the command line that follows them."""

    installs: tuple[PipInstall, ...]
    command: tuple[str, ...]

    @property
    def requirements(self) -> list[str]:
        """Everything that is installed, in order."""
        return [requirement for install in self.installs for requirement in install.requirements]


def parse_bootstrap(command: Sequence[str]) -> Bootstrap | None:
    """The bootstrap at the head of a command line, or ``None`` if there is none that is understood."""
    if len(command) < 4 or command[0] not in ("sh", "/bin/sh", "bash", "/bin/bash") or command[1] != "-c":
        return None
    script = _ENSURE_PIP.sub("", command[2].strip() + "\n")
    script = _VENV.sub("", script).strip()
    body, found = _CONTINUE.subn("", script)
    if not found:
        return None
    installs = []
    for part in (piece.strip() for piece in body.split("&&")):
        install = _parse_install(part)
        if install is None:
            return None
        installs.append(install)
    return Bootstrap(tuple(installs), tuple(command[3:]))


def _parse_install(text: str) -> PipInstall | None:
    text = text.removeprefix("PIP_DISABLE_PIP_VERSION_CHECK=1").strip()
    match = _PIP.match(text)
    if match is None:
        return None
    try:
        words = shlex.split(text[match.end() :])
    except ValueError:
        return None
    requirements: list[str] = []
    options: dict[str, list[str]] = {}
    no_deps = False
    position = 0
    while position < len(words):
        word = words[position]
        name, _, inline = word.partition("=")
        if word == "--no-deps":
            no_deps = True
        elif word in _OPTIONS_WITH_VALUE:
            position += 1
            if position == len(words):
                return None
            options.setdefault(word, []).append(words[position])
        elif name in _OPTIONS_WITH_VALUE:
            options.setdefault(name, []).append(inline)
        elif word.startswith("-") and word not in _IGNORED_FLAGS:
            return None
        elif not word.startswith("-"):
            requirements.append(word)
        position += 1
    if not requirements or {"--find-links", "-f"} & options.keys():
        return None
    urls = [*options.get("--index-url", []), *options.get("-i", []), *options.get("--extra-index-url", [])]
    return PipInstall(tuple(requirements), no_deps, tuple(urls), tuple(options.get("--trusted-host", [])))
