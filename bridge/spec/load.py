"""Loads a compiled pipeline and shows it as one object: the one parser for all parts of the bridge."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bridge.spec.bootstrap import parse_bootstrap
from bridge.spec.check import check_references
from bridge.spec.documents import MAX_BYTES, canonical_json, read_documents, write_documents
from bridge.spec.errors import ArgumentErrors, SpecError
from bridge.spec.model import (
    ArtifactSlot,
    ContainerSpec,
    Missing,
    Parameter,
    PipelineModel,
)
from bridge.spec.node import Problems, describe
from bridge.spec.parse import parse_model

__all__ = ["ArgumentErrors", "Missing", "Parameter", "Pipeline", "SpecError", "load_pipeline"]


@dataclass(frozen=True)
class Pipeline:
    """A compiled pipeline that was found sound.

    ``document`` is the pipeline spec as plain values, ``platforms`` what its platform documents say, by
    platform (``kubernetes``); treat both as read-only.
    """

    model: PipelineModel
    document: Mapping[str, Any]
    platforms: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The pipeline's name, ``pipelineInfo.name``."""
        return self.model.name

    @property
    def description(self) -> str | None:
        """What the pipeline says of itself."""
        return self.model.description

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters a run takes."""
        return self.model.root.parameters

    @property
    def artifacts(self) -> Mapping[str, ArtifactSlot]:
        """The artifacts a run takes (KFP's API can hand in none; only nested pipelines use them)."""
        return self.model.root.artifacts

    @property
    def outputs(self) -> Mapping[str, str]:
        """The types of what the pipeline gives: parameter types and artifact schema titles by name."""
        root = self.model.root
        artifacts = {name: slot.schema_title for name, slot in root.output_artifacts.items()}
        return {**{name: kind.value for name, kind in root.output_parameters.items()}, **artifacts}

    @cached_property
    def digest(self) -> str:
        """The sha256 (hex) of the pipeline's canonical JSON, platform documents included.

        Neither formatting nor comments nor the order of keys change it.
        """
        documents: list[Any] = [self.document]
        if self.platforms:
            documents.append({"platforms": self.platforms})
        return hashlib.sha256(canonical_json(documents)).hexdigest()

    @cached_property
    def text(self) -> str:
        """The canonical YAML text of all documents, which is what is sent to a backend."""
        documents: list[Any] = [dict(self.document)]
        if self.platforms:
            documents.append({"platforms": dict(self.platforms)})
        return write_documents(documents)

    @cached_property
    def images(self) -> Mapping[str, str]:
        """The container image of each executor that has one, by executor label."""
        return {
            label: executor.image
            for label, executor in self.model.executors.items()
            if isinstance(executor, ContainerSpec)
        }

    @cached_property
    def packages(self) -> Mapping[str, list[str]]:
        """What each component's pip bootstrap installs, by component name; without one it is left out."""
        found: dict[str, list[str]] = {}
        for name, component in self.model.components.items():
            executor = self.model.executors.get(component.executor or "")
            bootstrap = parse_bootstrap(executor.command) if isinstance(executor, ContainerSpec) else None
            if bootstrap:
                found[name] = bootstrap.requirements
        return found

    def platform_config(self, executor: str) -> Mapping[str, Any]:
        """What the Kubernetes platform document says of an executor; empty if nothing."""
        kubernetes = self.platforms.get("kubernetes") or {}
        deployment = kubernetes.get("deploymentSpec") or {}
        config = (deployment.get("executors") or {}).get(executor)
        return config if isinstance(config, dict) else {}

    @property
    def pipeline_config(self) -> Mapping[str, Any]:
        """What the Kubernetes platform document says of the whole pipeline (its workspace, its deadline)."""
        config = (self.platforms.get("kubernetes") or {}).get("pipelineConfig")
        return config if isinstance(config, dict) else {}


def load_pipeline(source: str | bytes | Path) -> Pipeline:
    """Reads a compiled pipeline: YAML or JSON text, or the file at a path.

    Raises ``SpecError`` with every problem found, as sentences; ``OSError`` if the file cannot be read.
    """
    data = _read_file(source) if isinstance(source, Path) else source
    documents = read_documents(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)
    document, platforms = _sort_documents(documents)
    problems = Problems()
    model = parse_model(document, problems)
    if not problems.sentences:
        check_references(model, problems)
    if problems.sentences:
        raise SpecError(problems.sentences)
    return Pipeline(model, document, platforms)


def _read_file(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def _sort_documents(documents: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tells the pipeline spec from platform specs; knows the wrappings in which KFP's API hands them out."""
    if not documents:
        raise SpecError("The document is empty: it holds nothing but blanks and comments.")
    pipelines: list[dict[str, Any]] = []
    platforms: dict[str, Any] = {}
    for document in documents:
        if not isinstance(document, dict):
            raise SpecError(f"The document is no compiled pipeline: it is {describe(document)}.")
        wrapped = document.get("pipeline_spec") or document.get("pipelineSpec")
        if isinstance(wrapped, dict) and "root" not in document:
            pipelines.append(wrapped)
            platforms.update(_platforms(document.get("platform_spec") or document.get("platformSpec") or {}))
        elif "platforms" in document and "root" not in document:
            platforms.update(_platforms(document))
        else:
            pipelines.append(document)
    if len(pipelines) != 1:
        what = "no pipeline spec" if not pipelines else f"{len(pipelines)} pipeline specs"
        raise SpecError(f"The document holds {what}; exactly one is expected.")
    pipeline = pipelines[0]
    if not {"root", "pipelineInfo"} & pipeline.keys():
        hint = ""
        if "kind" in pipeline and "apiVersion" in pipeline:
            hint = f" It is a Kubernetes object of kind {pipeline['kind']}."
        elif "implementation" in pipeline:
            hint = " It is a component in the format of KFP 1: compile it with kfp 2."
        raise SpecError(
            f"The document is no compiled pipeline: neither pipelineInfo nor root is there.{hint}"
        )
    return pipeline, platforms


def _platforms(document: Mapping[str, Any]) -> dict[str, Any]:
    found = document.get("platforms")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise SpecError(f"/platforms: a mapping is expected here, not {describe(found)}.")
    return found
