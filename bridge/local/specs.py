"""Parsed pipelines, kept in memory: parsing a spec costs far more than creating a run from it."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from bridge.local.packages import read_package
from bridge.local.status import invalid
from bridge.local.store_pipelines import spec_id_of
from bridge.spec.load import Pipeline, SpecError, load_pipeline

T = TypeVar("T")
_KEPT = 128


@dataclass(frozen=True, slots=True)
class Spec:
    """A pipeline and the JSON text under which it is stored and shown: the spec itself or, with platform
    documents, KFP's wrapping of both."""

    pipeline: Pipeline
    text: str


class SpecCache:
    """Loads specs in a thread of its own and keeps the most recently used ones. For one event loop."""

    def __init__(self) -> None:
        self._specs: OrderedDict[str, Spec] = OrderedDict()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spec-loader")

    async def upload(self, file_name: str, content: bytes) -> Spec:
        """The pipeline in an uploaded file. Raises ``StatusError`` (400) naming every problem."""
        spec = await self._in_thread(lambda: _load(read_package(file_name, content)))
        return self._keep(spec, spec_id_of(spec.text))

    async def inline(self, document: Mapping[str, Any]) -> Spec:
        """The pipeline in a request's ``pipeline_spec``. Raises ``StatusError`` (400)."""
        sent = await self._in_thread(lambda: _as_json(document).encode())
        key = spec_id_of(sent.decode())
        known = self._known(key)
        if known is None:
            known = await self._in_thread(lambda: _load(sent))
            self._keep(known, key)
        # The run that is made from it asks for it by its stored text.
        return self._keep(known, spec_id_of(known.text))

    async def stored(self, spec_id: str, text: str) -> Pipeline:
        """The pipeline with a text that is kept under an id."""
        known = self._known(spec_id)
        if known is None:
            known = self._keep(await self._in_thread(lambda: _load(text.encode())), spec_id)
        return known.pipeline

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True)

    def _known(self, key: str) -> Spec | None:
        spec = self._specs.get(key)
        if spec is not None:
            self._specs.move_to_end(key)
        return spec

    def _keep(self, spec: Spec, key: str) -> Spec:
        self._specs[key] = spec
        self._specs.move_to_end(key)
        while len(self._specs) > _KEPT:
            self._specs.popitem(last=False)
        return spec

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _load(content: bytes) -> Spec:
    try:
        pipeline = load_pipeline(content)
    except SpecError as error:
        raise invalid(f"Failed to validate the pipeline spec: {error}") from error
    document: Mapping[str, Any] = dict(pipeline.document)
    if pipeline.platforms:
        document = {"pipeline_spec": document, "platform_spec": {"platforms": dict(pipeline.platforms)}}
    return Spec(pipeline, _as_json(document))


def _as_json(document: Mapping[str, Any]) -> str:
    """The document as text that is YAML, too: a character beyond the first plane as itself, since the two
    escapes that JSON may write for it are none in YAML."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
