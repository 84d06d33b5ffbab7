"""``kfbridge doctor``: looks whether everything that the settings name is there, and says what to do."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from bridge.commands.failures import FAILED, SUCCEEDED, CommandError
from bridge.commands.options import add_command, add_json_option
from bridge.commands.serving import add_kfp_url_option, add_service_options, missing_extra, read_settings

if TYPE_CHECKING:
    from bridge.commands.console import Console
    from bridge.service.doctor.findings import Finding

_MARKS = {"ok": ("✓", "+", "green"), "warning": ("!", "!", "yellow"), "error": ("✗", "x", "red")}


def register(commands: Any) -> None:
    """Declare the command."""
    parser = add_command(
        commands,
        "doctor",
        run_doctor,
        help_text="check database, backends and settings, and say what to do",
        description="Check everything that the settings of a service name: database, backends, metadata, "
        "stores of artifacts, access, clocks, versions, rights in the cluster. Nothing is changed.",
    )
    add_service_options(parser)
    add_kfp_url_option(parser)
    parser.add_argument("--all", action="store_true", help="show also what is well")
    add_json_option(parser)


def run_doctor(args: argparse.Namespace, console: Console) -> int:
    """Print the findings; 1 if any of them is an error."""
    findings = _findings(args, console)
    errors = sum(finding.level == "error" for finding in findings)
    warnings = sum(finding.level == "warning" for finding in findings)
    if args.json:
        told = [finding.to_json() for finding in findings]
        console.result_json({"errors": errors, "warnings": warnings, "findings": told})
        return FAILED if errors else SUCCEEDED
    for finding in findings:
        if args.all or finding.level != "ok":
            _tell(finding, console)
    well = len(findings) - errors - warnings
    console.result(f"{well} checks ok, {warnings} warnings, {errors} errors")
    return FAILED if errors else SUCCEEDED


def _findings(args: argparse.Namespace, console: Console) -> list[Finding]:
    try:
        settings = read_settings(args, console, "doctor")
    except CommandError as wrong:
        from bridge.service.doctor.findings import error

        text = "; ".join(wrong.details) or wrong.happened
        return [error("settings", "settings", text, wrong.to_do or "see docs/service.md.")]
    import asyncio

    try:
        from bridge.service.doctor.examine import examine
    except ImportError as missing:
        raise missing_extra("doctor", "service", missing) from missing
    return asyncio.run(examine(settings))


def _tell(finding: Finding, console: Console) -> None:
    mark, plain, style = _MARKS[finding.level]
    head = f"{mark if console.has_unicode else plain} {finding.check}"
    console.result(f"{console.paint(head, style)}  {finding.subject}: {finding.found}")
    if finding.meaning:
        console.result(f"    what it means: {finding.meaning}")
    if finding.to_do:
        console.result(f"    what to do: {finding.to_do}")
