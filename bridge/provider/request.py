"""What the operator sends: its rendered fields and its context as one request, checked before it goes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import ObjectStoragePath
from airflow.sdk.exceptions import AirflowException
from pydantic import ValidationError

from bridge.client.errors import InputError
from bridge.client.models import InputModel, PipelineVersionModel, SubmitRequest
from bridge.domain.lineage import InputVersion
from bridge.provider.compat import AirflowFailException
from bridge.provider.fetching import PipelineAway, PipelineProblem
from bridge.provider.functions import CompiledFunction
from bridge.provider.inputs import resolve_inputs
from bridge.provider.origin import build_origin
from bridge.provider.pipelines import load_pipeline_from, registered

if TYPE_CHECKING:
    from airflow.sdk import Context

    from bridge.provider.hooks import BridgeSettings
    from bridge.provider.operators import KubeflowPipelineOperator

_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


def build_request(
    task: KubeflowPipelineOperator, context: Context, settings: BridgeSettings, folders: Iterable[Path]
) -> SubmitRequest:
    """The request for a task whose fields are rendered.

    Raises ``AirflowFailException``, naming every problem, for what no retry can put right, and
    ``AirflowException`` for a pipeline that cannot be fetched now.
    """
    try:
        inputs = resolve_inputs(_mapping(task.inputs, "inputs"), context)
        arguments = _mapping(task.arguments, "arguments")
        what, arguments = _pipeline(task, arguments, inputs, folders)
        return SubmitRequest(
            **what,
            arguments=arguments,
            inputs=inputs,
            backend=text_of(task.backend) or settings.backend,
            project=text_of(task.project) or settings.project,
            namespace=text_of(task.namespace),
            experiment=text_of(task.experiment),
            display_name=text_of(task.display_name),
            service_account=text_of(task.service_account),
            pipeline_root=text_of(task.pipeline_root),
            caching=_flag(task.caching, "caching"),
            labels={str(k): str(v) for k, v in _mapping(task.labels, "labels").items()},
            on_retry=task.retry_policy_of_run,
            on_clear=task.clear_policy,
            gate=text_of(task.gate),
            skip_if_unchanged=bool(_flag(task.skip_if_unchanged, "skip_if_unchanged")),
            origin=build_origin(context, deployment=settings.deployment),
        )
    except PipelineAway as error:
        raise AirflowException(str(error)) from error
    except (PipelineProblem, InputError) as error:
        raise AirflowFailException(str(error)) from error
    except ValidationError as error:
        listed = "".join(f"\n  - {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise AirflowFailException(f"The run cannot be asked for:{listed}") from error


def _pipeline(
    task: KubeflowPipelineOperator,
    arguments: dict[str, Any],
    inputs: list[InputModel],
    folders: Iterable[Path],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pipeline's part of the request, and the arguments in the types that it declares."""
    from bridge.spec.arguments import apply_inputs, as_declared, check_arguments
    from bridge.spec.errors import ArgumentErrors

    named = registered(task.pipeline)
    if named is not None:
        # Only the bridge knows what this pipeline takes; it checks before anything is sent to KFP.
        rendered = [name for name in task.templated_arguments if isinstance(arguments.get(name), str)]
        return {"pipeline": _registered(named), "text_arguments": sorted(rendered)}, arguments
    known = isinstance(task.pipeline, str | ObjectStoragePath | CompiledFunction)
    if not known or text_of(task.pipeline) is None:
        raise PipelineProblem(f"pipeline is {task.pipeline!r}: no path, URL, registered name or kfp function")
    pipeline = load_pipeline_from(task.pipeline, folders)
    arguments = as_declared(pipeline, arguments, task.templated_arguments)
    versions = [InputVersion(name=item.name, uri=item.uri) for item in inputs]
    try:
        check_arguments(pipeline, apply_inputs(pipeline, arguments, versions))
    except ArgumentErrors as error:
        listed = "".join(f"\n  - {pointer}: {detail}" for pointer, detail in error.errors)
        raise PipelineProblem(f"The arguments do not fit pipeline {pipeline.name!r}:{listed}") from error
    return {"spec": pipeline.text}, arguments


def _registered(named: Mapping[str, Any]) -> PipelineVersionModel:
    """A field whose template rendered to nothing counts as left out."""
    given = {name: text_of(value) for name, value in named.items()}
    return PipelineVersionModel.model_validate({k: v for k, v in given.items() if v is not None})


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise PipelineProblem(f"{name} has to be a mapping, not {type(value).__name__}: {value!r:.200}")
    return {str(key): item for key, item in value.items()}


def text_of(value: Any) -> str | None:
    """A rendered field as text; ``None`` for one that is empty or whose template found nothing."""
    text = "" if value is None else str(value).strip()
    # A template without a value renders to this word.
    return None if text in ("", "None") else text


def _flag(value: Any, name: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    text = (text_of(value) or "").lower()
    if text in _TRUE | _FALSE:
        return text in _TRUE
    if not text:
        return None
    raise PipelineProblem(f"{name} is {value!r}; it has to be true or false")
