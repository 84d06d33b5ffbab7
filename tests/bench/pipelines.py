"""Compiled pipelines for the benches: container components with ``sh``, so that no package is needed."""

from __future__ import annotations

_SPEC = """\
components:
  comp-step:
    executorLabel: exec-step
    inputDefinitions:
      parameters:
        seconds:
          parameterType: STRING
deploymentSpec:
  executors:
    exec-step:
      container:
        command: [sh, -c, 'exec sleep "$0"', "{{$.inputs.parameters['seconds']}}"]
        image: alpine
pipelineInfo:
  name: bench-step
root:
  dag:
    tasks:
      step:
        cachingOptions: {}
        componentRef:
          name: comp-step
        inputs:
          parameters:
            seconds:
              componentInputParameter: seconds
        taskInfo:
          name: step
  inputDefinitions:
    parameters:
      seconds:
        defaultValue: '0'
        isOptional: true
        parameterType: STRING
schemaVersion: 2.1.0
sdkVersion: kfp-2.17.0
"""


def step_pipeline() -> str:
    """A pipeline of one task that sleeps for the parameter ``seconds`` (a text, by default ``0``)."""
    return _SPEC
