"""What the contract tests run, and how they wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.messages import PipelineVersionReference, Run, RuntimeConfig

COMPILED = Path(__file__).resolve().parents[3] / "kfp_pipelines" / "compiled"
PATIENCE_SECONDS = 100.0

SLEEPER = """
components:
  comp-sleep: {executorLabel: exec-sleep}
deploymentSpec:
  executors:
    exec-sleep:
      container: {image: 'python:3.11', command: [sleep], args: ['300']}
pipelineInfo: {name: sleeper}
root:
  dag:
    tasks:
      sleep:
        cachingOptions: {}
        componentRef: {name: comp-sleep}
        taskInfo: {name: sleep}
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""


def unique(name: str) -> str:
    """A name that no other test, and no earlier session on a live server, has taken."""
    return f"{name}-{uuid4().hex[:8]}"


async def version_of(client: KfpClient, text: str) -> PipelineVersionReference:
    """Registers a pipeline under a name of its own; refers to its first version."""
    pipeline = await client.upload_pipeline(text, unique("contract"))
    assert pipeline.pipeline_id is not None
    page = await client.list_versions(pipeline.pipeline_id)
    return PipelineVersionReference(
        pipeline_id=pipeline.pipeline_id, pipeline_version_id=page.pipeline_versions[0].pipeline_version_id
    )


async def start(
    client: KfpClient, text: str, arguments: Mapping[str, Any] | None = None, run_id: UUID | None = None
) -> Run:
    """Registers the pipeline and starts a run of it under an id that we choose."""
    experiment = await client.ensure_experiment("contract")
    return await client.create_run(
        Run(
            run_id=str(run_id or uuid4()),
            display_name=unique("contract"),
            experiment_id=experiment.experiment_id,
            pipeline_version_reference=await version_of(client, text),
            runtime_config=RuntimeConfig(parameters=dict(arguments or {})),
        )
    )


async def wait_until(client: KfpClient, kfp_run_id: str, holds: Callable[[Run], bool]) -> Run:
    """The run as soon as the condition holds."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            run = await client.get_run(kfp_run_id)
            if holds(run):
                return run
            await asyncio.sleep(0.1)


async def run_to_end(client: KfpClient, text: str, arguments: Mapping[str, Any] | None = None) -> Run:
    """Runs the pipeline to its end, whichever it is."""
    started = await start(client, text, arguments)
    assert started.run_id is not None
    return await wait_until(client, started.run_id, lambda run: run.runtime_state.is_terminal)
