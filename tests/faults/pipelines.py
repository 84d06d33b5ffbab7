"""Pipelines of shell components whose course a test decides by making files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.integration.service.pipelines import trains
from tests.support.handmade import artifacts, component, constant, document, parameters, sh, task

__all__ = ["needs", "publishes", "trains", "waits"]

_WAIT = 'while [ ! -e "$1" ]; do sleep 0.1; done; mkdir -p "$(dirname "$0")" && echo waited > "$0"'
_NEED = """
echo looking; [ -e "$0" ] || { echo "there is no $0" >&2; exit 3; }
while [ ! -e "$0.go" ]; do sleep 0.1; done
"""
_PUBLISH = 'mkdir -p "$(dirname "$0")" && printf %s "$1" > "$0"'


def waits(for_file: Path) -> str:
    """``wait`` runs until the file is there, then makes an artifact ``found``."""
    return json.dumps(
        document(
            {"wait": task("wait", "comp-wait", parameters={"file": constant(str(for_file))})},
            {
                "comp-wait": component(
                    inputs=parameters(file="str"),
                    output_artifacts=artifacts(found="Dataset"),
                    executorLabel="exec-wait",
                )
            },
            {
                "exec-wait": sh(
                    _WAIT, "{{$.outputs.artifacts['found'].path}}", "{{$.inputs.parameters['file']}}"
                )
            },
            name="waits",
        )
    )


def needs(file: Path) -> str:
    """``first`` succeeds; ``look`` fails unless the file is there, then waits for another, with ``.go``."""
    return json.dumps(
        document(
            {
                "first": task("first", "comp-first"),
                "look": task("look", "comp-look", "first", parameters={"file": constant(str(file))}),
            },
            {
                "comp-first": component(executorLabel="exec-first"),
                "comp-look": component(inputs=parameters(file="str"), executorLabel="exec-look"),
            },
            {"exec-first": sh("echo fine"), "exec-look": sh(_NEED, "{{$.inputs.parameters['file']}}")},
            name="needs",
        )
    )


def publishes(uris: Mapping[str, str]) -> str:
    """``publish`` puts out an artifact under each key, which it says is at that URI."""
    told = {key: {"artifacts": [{"name": key, "uri": uri}]} for key, uri in uris.items()}
    return json.dumps(
        document(
            {"publish": task("publish", "comp-publish")},
            {
                "comp-publish": component(
                    output_artifacts=artifacts(**dict.fromkeys(uris, "Dataset")), executorLabel="exec-publish"
                )
            },
            {"exec-publish": sh(_PUBLISH, "{{$.outputs.output_file}}", json.dumps({"artifacts": told}))},
            name="publishes",
        )
    )
