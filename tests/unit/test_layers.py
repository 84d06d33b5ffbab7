"""The service's side imports in a process in which Airflow and kfp cannot be imported at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

_CODE = """\
import importlib, pkgutil, sys

class Barred:
    names = set(sys.argv[2].split(","))

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is barred here")
        return None

sys.meta_path.insert(0, Barred())
package = importlib.import_module(sys.argv[1])
count = 1
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if module.name.endswith("__main__") or ".migrations." in module.name:
        continue
    importlib.import_module(module.name)
    count += 1
print(count)
"""


@pytest.mark.parametrize(
    ("package", "barred"),
    [
        ("bridge.service", "airflow,kfp,kubernetes"),
        ("bridge.lineage", "airflow,kfp,fastapi"),
        ("bridge.kfp_api", "airflow,kfp,fastapi,sqlmodel"),
        # The official client takes a second and 60 MB to load: only who watches a cluster pays for that.
        ("bridge.kube", "airflow,kfp,fastapi,sqlmodel,httpx,pydantic,kubernetes,urllib3"),
        ("bridge.local", "airflow,kfp,sqlmodel"),
        ("bridge.client", "airflow,kfp,fastapi,sqlmodel,google"),
        ("bridge.spec", "airflow,kfp,fastapi,sqlmodel,httpx,pydantic"),
        ("bridge.domain", "airflow,kfp,fastapi,sqlmodel,httpx,pydantic,yaml,tenacity"),
        ("bridge.commands", "airflow,kfp"),
    ],
)
def test_a_package_imports_without_what_it_may_not_know(package: str, barred: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-W", "error::ImportWarning", "-c", _CODE, package, barred],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert int(answer.stdout) > 3


def test_importing_the_distribution_imports_nothing() -> None:
    code = "import sys; before = set(sys.modules); import bridge; print(sorted(set(sys.modules) - before))"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert answer.stdout.strip() == "['bridge']"
