"""The pip bootstrap of compiled components is recognised as kfp writes it, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from bridge.spec.bootstrap import PipInstall, parse_bootstrap

REST = ["sh", "-ec", "run it", "source"]
KFP = PipInstall(("kfp==2.17.0", 'typing-extensions>=3.7.4,<5; python_version<"3.9"'), no_deps=True)


@pytest.mark.parametrize(
    ("options", "installs"),
    [
        ({}, (KFP,)),
        ({"packages_to_install": ["pandas>=2", "x[y]==1"]}, (PipInstall(("pandas>=2", "x[y]==1")), KFP)),
        ({"packages_to_install": ["kfp==2.16.0"]}, (PipInstall(("kfp==2.16.0",)),)),
        ({"use_venv": True}, (KFP,)),
        ({"install_kfp_package": False, "packages_to_install": ["a"]}, (PipInstall(("a",)),)),
        (
            {
                "packages_to_install": ["a"],
                "install_kfp_package": False,
                "pip_index_urls": ["https://one.example/simple", "https://two.example/simple"],
                "pip_trusted_hosts": ["one.example"],
            },
            (
                PipInstall(
                    ("a",),
                    index_urls=("https://one.example/simple", "https://two.example/simple"),
                    trusted_hosts=("one.example",),
                ),
            ),
        ),
        (
            {"kfp_package_path": "git+https://example.org/kfp"},
            (PipInstall(("git+https://example.org/kfp",)),),
        ),
    ],
)
def test_what_the_kfp_compiler_writes(options: dict[str, Any], installs: tuple[PipInstall, ...]) -> None:
    from kfp.dsl import component_factory as factory

    found = parse_bootstrap([*factory._get_packages_to_install_command(**options), *REST])
    assert found is not None
    assert found.installs == installs
    assert found.command == tuple(REST)


@pytest.mark.parametrize(
    "script",
    [
        "echo hello",
        'python3 -m pip install a && echo more && "$0" "$@"',
        "python3 -m pip install a",
        'python3 -m pip install --target /elsewhere a && "$0" "$@"',
        'python3 -m pip install "a && "$0" "$@"',
        'python3 -m pip install && "$0" "$@"',
        'curl example.org | sh && "$0" "$@"',
    ],
)
def test_what_only_resembles_it_is_left_alone(script: str) -> None:
    assert parse_bootstrap(["sh", "-c", script, *REST]) is None


def test_other_command_lines() -> None:
    assert parse_bootstrap([]) is None
    assert parse_bootstrap(["python", "-m", "x"]) is None
