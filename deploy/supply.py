"""What an installation is made of: an SBOM from the lock file, and what of it is known to be broken."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# The two ways to install it; they do not resolve together.
EXTRAS = {"service": ("service", "local", "s3", "gcs", "telemetry"), "airflow": ("airflow",)}
_SBOM_TOOL = "cyclonedx-bom==7.3.1"
_AUDIT_TOOL = "pip-audit==2.10.1"
_TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Verdict:
    """What pip-audit found: ``broken`` if something has a known vulnerability."""

    broken: bool
    told: str


def verdict_of(report: Mapping[str, Any] | None, errors: str) -> Verdict:
    """What pip-audit's report says; ``None`` if it wrote none.

    A package that the advisory service does not know, or could not be asked about, is skipped in it: if all
    are, nothing was checked.
    """
    packages: Sequence[Mapping[str, Any]] = (report or {}).get("dependencies", [])
    checked = [one for one in packages if "skip_reason" not in one]
    if not checked:
        last = (
            errors.strip().splitlines() or [str(packages[0]["skip_reason"]) if packages else "no report"]
        )[-1]
        return Verdict(
            False, f"NOT CHECKED: the advisory service cannot be reached or knows nothing ({last})"
        )
    found = [
        f"{one['name']} {one['version']}: {hole['id']}"
        f" (fixed in {', '.join(hole['fix_versions']) or 'nothing yet'})"
        for one in checked
        for hole in one["vulns"]
    ]
    skipped = len(packages) - len(checked)
    count = f"{len(checked)} packages checked" + (f", {skipped} could not be" if skipped else "")
    if not found:
        return Verdict(False, f"no known vulnerabilities: {count}")
    return Verdict(True, "\n".join([*found, f"{len(found)} known vulnerabilities: {count}"]))


def audit(uv: str, *, tell: bool = False) -> int:
    """Check both installations; 1 if something is known to be broken, unless that is only to be told."""
    broken = False
    for name, extras in EXTRAS.items():
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            requirements = _export(uv, extras, Path(folder) / "requirements.txt")
            options = ["--disable-pip", "--require-hashes", "--progress-spinner", "off", "--format", "json"]
            errors = _errors_of(
                [uv, "tool", "run", _AUDIT_TOOL, *options, "-r", str(requirements), "-o", str(report)]
            )
            verdict = verdict_of(_read(report), errors)
        print(f"{name}: {verdict.told}", flush=True)
        broken = broken or verdict.broken
    return int(broken and not tell)


def sbom(uv: str, folder: Path) -> int:
    """Write an SBOM of each installation."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, extras in EXTRAS.items():
        target = folder / f"sbom-{name}.json"
        with tempfile.TemporaryDirectory() as temporary:
            requirements = _export(uv, extras, Path(temporary) / "requirements.txt")
            options = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--of", "JSON"]
            ended = _run(
                [
                    *(uv, "tool", "run", "--from", _SBOM_TOOL, "cyclonedx-py"),
                    *("requirements", str(requirements), *options, "-o", str(target)),
                ]
            )
        if ended.returncode:
            print(f"no SBOM of {name}: {ended.stderr.strip()}", file=sys.stderr)
            return 1
        print(f"{target}: {len(json.loads(target.read_text())['components'])} components", flush=True)
    return 0


def _export(uv: str, extras: Sequence[str], target: Path) -> Path:
    chosen = [word for extra in extras for word in ("--extra", extra)]
    ended = _run([uv, "export", "--frozen", "--quiet", "--no-emit-project", *chosen, "-o", str(target)])
    if ended.returncode:
        raise SystemExit(f"the lock file cannot be read: {ended.stderr.strip()}")
    return target


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False
    )


def _errors_of(command: Sequence[str]) -> str:
    """What a command that asks others says on standard error; they may leave it waiting."""
    try:
        return _run(command).stderr
    except subprocess.TimeoutExpired as late:
        return f"no answer within {late.timeout:g} s"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        # It writes none when it fails, and tells why on standard error.
        return None
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="deploy.supply", description=__doc__)
    parser.add_argument("what", choices=("sbom", "audit"))
    parser.add_argument("--uv", default="uv", help="the uv to export and to run tools with")
    parser.add_argument(
        "--tell", action="store_true", help="tell what is broken, and exit with 0 all the same"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "dist", help="where SBOMs are written")
    args = parser.parse_args(argv)
    return sbom(args.uv, args.folder) if args.what == "sbom" else audit(args.uv, tell=args.tell)


if __name__ == "__main__":
    sys.exit(main())
