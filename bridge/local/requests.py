"""What callers may send, field by field as in KFP's protos; anything else is refused as protojson does.

protojson takes snake_case and camelCase alike, treats null as absent, and refuses what it does not know.
Fields that KFP only puts out may be sent and are ignored, except ``run_id``.
"""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from bridge.local.clock import parse_rfc3339
from bridge.local.status import invalid

# protobuf's own limit for messages in messages.
_MAX_DEPTH = 100
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Message(BaseModel):
    """The rules that all messages share."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        return {name: value for name, value in document.items() if value is not None}


def _int64(value: Any) -> Any:
    # protojson writes 64-bit integers as text and reads numbers, too.
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,19}", value, re.ASCII):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("an integer of 64 bits is expected")
    return value


def _time(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError("a time in RFC 3339 is expected")
    try:
        return parse_rfc3339(value)
    except OverflowError as error:
        raise ValueError("a time between the years 1 and 9999 is expected") from error


Int64 = Annotated[int, BeforeValidator(_int64)]
Time = Annotated[int, BeforeValidator(_time)]


class RuntimeConfigMessage(Message):
    """v2beta1.RuntimeConfig"""

    parameters: dict[str, Any] = Field(default_factory=dict)
    pipeline_root: str = ""


class VersionReferenceMessage(Message):
    """v2beta1.PipelineVersionReference"""

    pipeline_id: str = ""
    pipeline_version_id: str = ""


class RunMessage(Message):
    """v2beta1.Run"""

    run_id: str = ""
    display_name: str = ""
    description: str = ""
    experiment_id: str = ""
    pipeline_version_id: str = ""
    pipeline_spec: dict[str, Any] | None = None
    pipeline_version_reference: VersionReferenceMessage | None = None
    runtime_config: RuntimeConfigMessage = Field(default_factory=RuntimeConfigMessage)
    service_account: str = ""
    recurring_run_id: str = ""
    plugins_input: dict[str, Any] = Field(default_factory=dict)
    storage_state: Any = None
    created_at: Any = None
    scheduled_at: Any = None
    finished_at: Any = None
    state: Any = None
    error: Any = None
    run_details: Any = None
    state_history: Any = None
    plugins_output: Any = None


class CronScheduleMessage(Message):
    """v2beta1.CronSchedule"""

    start_time: Time | None = None
    end_time: Time | None = None
    cron: str = ""


class PeriodicScheduleMessage(Message):
    """v2beta1.PeriodicSchedule"""

    start_time: Time | None = None
    end_time: Time | None = None
    interval_second: Int64 = 0


class TriggerMessage(Message):
    """v2beta1.Trigger: one of the two"""

    cron_schedule: CronScheduleMessage | None = None
    periodic_schedule: PeriodicScheduleMessage | None = None


class RecurringRunMessage(Message):
    """v2beta1.RecurringRun"""

    recurring_run_id: str = ""
    display_name: str = ""
    description: str = ""
    experiment_id: str = ""
    namespace: str = ""
    pipeline_version_id: str = ""
    pipeline_spec: dict[str, Any] | None = None
    pipeline_version_reference: VersionReferenceMessage | None = None
    runtime_config: RuntimeConfigMessage = Field(default_factory=RuntimeConfigMessage)
    service_account: str = ""
    max_concurrency: Int64 = 0
    trigger: TriggerMessage = Field(default_factory=TriggerMessage)
    mode: Literal["MODE_UNSPECIFIED", "ENABLE", "DISABLE", 0, 1, 2] = "MODE_UNSPECIFIED"
    no_catchup: bool = False
    plugins_input: dict[str, Any] = Field(default_factory=dict)
    created_at: Any = None
    updated_at: Any = None
    status: Any = None
    error: Any = None

    @property
    def enabled(self) -> bool:
        """Whether it is to run at once; KFP takes an unspecified mode as disabled."""
        return self.mode in ("ENABLE", 1)


class ExperimentMessage(Message):
    """v2beta1.Experiment"""

    experiment_id: str = ""
    display_name: str = ""
    description: str = ""
    namespace: str = ""
    created_at: Any = None
    storage_state: Any = None
    last_run_created_at: Any = None


class PipelineMessage(Message):
    """v2beta1.Pipeline"""

    pipeline_id: str = ""
    display_name: str = ""
    name: str = ""
    description: str = ""
    namespace: str = ""
    tags: dict[str, str] = Field(default_factory=dict)
    created_at: Any = None
    error: Any = None


class UrlMessage(Message):
    """v2beta1.Url"""

    pipeline_url: str = ""


class VersionMessage(Message):
    """v2beta1.PipelineVersion"""

    pipeline_id: str = ""
    pipeline_version_id: str = ""
    display_name: str = ""
    name: str = ""
    description: str = ""
    package_url: UrlMessage | None = None
    code_source_url: str = ""
    pipeline_spec: dict[str, Any] | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    created_at: Any = None
    error: Any = None


class VisualizationMessage(Message):
    """v2beta1.Visualization"""

    type: Any = None
    source: str = ""
    arguments: str = ""
    html: Any = None
    error: Any = None


class PipelineAndVersionMessage(Message):
    """v2beta1.CreatePipelineAndVersionRequest"""

    pipeline: PipelineMessage = Field(default_factory=PipelineMessage)
    pipeline_version: VersionMessage = Field(default_factory=VersionMessage)


M = TypeVar("M", bound=Message)


def read_message(body: bytes, kind: type[M]) -> M:
    """The message in a request's body. Raises ``StatusError`` (400) that names what is wrong."""
    try:
        document = json.loads(
            body or b"{}", parse_constant=_refuse_constant, parse_int=_whole_number, parse_float=_number
        )
    except (ValueError, RecursionError) as error:
        raise invalid(f"the body is not valid JSON: {error}") from error
    if not isinstance(document, dict):
        raise invalid("the body must be a JSON object")
    _refuse_depth(document)
    if _SURROGATE.search(body):
        _refuse_half_characters(document)
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise invalid(_explain(error)) from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON value")


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is beyond the range of numbers")
    return number


def _whole_number(text: str) -> int:
    # protojson knows doubles only; whole numbers within their range keep all their digits here.
    _number(text)
    return int(text)


def _refuse_depth(document: dict[str, Any]) -> None:
    level: list[Any] = [document]
    for _ in range(_MAX_DEPTH):
        level = [
            child
            for value in level
            for child in (value.values() if isinstance(value, dict) else value)
            if isinstance(child, dict | list)
        ]
        if not level:
            return
    raise invalid(f"the body is nested deeper than {_MAX_DEPTH} levels")


def _refuse_half_characters(document: dict[str, Any]) -> None:
    try:
        json.dumps(document, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise invalid("the body holds half of a surrogate pair, which is no character") from error


def _explain(error: ValidationError) -> str:
    sentences = []
    for problem in error.errors(include_url=False)[:10]:
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            sentences.append(f'unknown field "{where}"')
        else:
            sentences.append(f'invalid value for field "{where}": {problem["msg"]}')
    return "invalid request: " + "; ".join(sentences)
