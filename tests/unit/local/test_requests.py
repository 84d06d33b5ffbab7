"""What the server takes as a message and what it refuses, as protojson does."""

from __future__ import annotations

import json

import pytest

from bridge.local.requests import RunMessage, read_message
from bridge.local.status import StatusError


def test_snake_case_camel_case_and_null_are_alike() -> None:
    snake = read_message(b'{"display_name": "r", "runtime_config": {"pipeline_root": "x"}}', RunMessage)
    camel = read_message(
        b'{"displayName": "r", "runtimeConfig": {"pipelineRoot": "x", "parameters": null}, "runId": null}',
        RunMessage,
    )
    assert snake.model_dump() == camel.model_dump()


def test_parameters_keep_their_types_and_nulls() -> None:
    body = {"display_name": "r", "runtime_config": {"parameters": {"i": 1, "f": 1.0, "n": None, "l": [True]}}}
    message = read_message(json.dumps(body).encode(), RunMessage)
    told = message.runtime_config.parameters
    assert told == {"i": 1, "f": 1.0, "n": None, "l": [True]}
    assert [type(told[key]) for key in "if"] == [int, float]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"display_name": NaN}', "NaN is no JSON value"),
        (b'{"a": 1e999}', "beyond the range of numbers"),
        (b'{"a": 1' + b"0" * 400 + b"}", "beyond the range of numbers"),
        (b'{"colour": 1}', 'unknown field "colour"'),
        (b'{"runtime_config": {"params": {}}}', r'unknown field "runtime_?[cC]onfig.params"'),
        (b'{"display_name": 7}', r'invalid value for field "display_?[nN]ame"'),
        (b'{"runtime_config": []}', "invalid value for field"),
        (b'{"display_name": "\\ud800"}', "surrogate"),
        (b"[" * 20_000, "not valid JSON"),
        (b'{"pipeline_spec": ' + b'{"a":' * 200 + b"1" + b"}" * 201, "nested deeper"),
        (b'{"display_name": "\xff"}', "not valid JSON"),
    ],
)
def test_what_is_refused(body: bytes, message: str) -> None:
    with pytest.raises(StatusError, match=message) as caught:
        read_message(body, RunMessage)
    assert caught.value.http_status == 400


def test_a_whole_surrogate_pair_is_a_character() -> None:
    assert read_message(b'{"display_name": "\\ud83d\\ude80"}', RunMessage).display_name == "🚀"
