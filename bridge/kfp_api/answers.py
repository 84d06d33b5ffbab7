"""Reads whole HTTP answers: JSON into messages, gRPC-web into payloads. All errors are ``KfpError``."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import ValidationError

from bridge.kfp_api import grpcweb
from bridge.kfp_api.errors import Answer, KfpBadAnswer, error_from_grpc, looks_like_html
from bridge.kfp_api.messages import KfpMessage

MessageT = TypeVar("MessageT", bound=KfpMessage)


def json_object(answer: Answer) -> dict[str, Any]:
    """The JSON object of an answer, empty for an empty body; a login page is told apart from a cut one."""
    if looks_like_html(answer.headers, answer.body):
        raise KfpBadAnswer(
            "an HTML page instead of JSON, probably a login page: check the address and the token",
            status=answer.status,
            request=answer.request,
        )
    if not answer.body.strip():
        return {}
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError) as error:
        raise KfpBadAnswer(
            f"JSON that ends too early or is none: {error}",
            cut=True,
            status=answer.status,
            request=answer.request,
        ) from error
    if not isinstance(value, dict):
        raise KfpBadAnswer("JSON, but no object", status=answer.status, request=answer.request)
    return value


def parse_answer(kind: type[MessageT], answer: Answer) -> MessageT:
    """The answer as a message of the given kind."""
    value = json_object(answer)
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise KfpBadAnswer(
            f"a {kind.__name__} whose {where or 'shape'} is wrong: {first['msg']}",
            status=answer.status,
            request=answer.request,
        ) from error


def grpc_payload(answer: Answer) -> bytes:
    """The message in a gRPC-web answer. Raises what its status means, too."""
    if looks_like_html(answer.headers, answer.body):
        raise KfpBadAnswer(
            "an HTML page instead of gRPC-web: no metadata service is reached at this address",
            status=answer.status,
            request=answer.request,
        )
    try:
        return grpcweb.decode_response(answer.body, answer.headers)
    except grpcweb.GrpcStatusError as error:
        raise error_from_grpc(error, answer.request) from error
    except grpcweb.FrameError as error:
        raise KfpBadAnswer(str(error), cut=True, status=answer.status, request=answer.request) from error
