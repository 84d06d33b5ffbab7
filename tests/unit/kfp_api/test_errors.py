"""Which answer means which error, and which errors leave it open whether something happened."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from bridge.kfp_api import errors, grpcweb
from bridge.kfp_api.errors import Answer, KfpError, error_from_answer

STATUS = {"content-type": "application/json"}


def answer(status: int, body: object, **headers: str) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {**STATUS, **headers}, raw, "GET /apis/v2beta1/runs")


@pytest.mark.parametrize(
    ("status", "kind", "retryable", "ambiguous"),
    [
        (400, errors.KfpInvalid, False, False),
        (401, errors.KfpAuthError, False, False),
        (403, errors.KfpAuthError, False, False),
        (404, errors.KfpNotFound, False, False),
        (405, errors.KfpInvalid, False, False),
        (408, errors.KfpServerError, True, True),
        (409, errors.KfpConflict, False, False),
        (413, errors.KfpInvalid, False, False),
        (429, errors.KfpRateLimited, True, False),
        (500, errors.KfpServerError, True, True),
        (502, errors.KfpServerError, True, True),
        (503, errors.KfpServerError, True, True),
        (504, errors.KfpServerError, True, True),
        (599, errors.KfpServerError, True, True),
        (302, errors.KfpAuthError, False, False),
    ],
)
def test_status_decides_the_kind(status: int, kind: type[KfpError], retryable: bool, ambiguous: bool) -> None:
    error = error_from_answer(answer(status, {"error": "e", "code": 13, "message": "m", "details": []}))
    assert type(error) is kind
    assert (error.retryable, error.ambiguous, error.status) == (retryable, ambiguous, status)


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (
            {"error": "short", "code": 5, "message": "Run x not found", "details": [{"a": 1}]},
            "Run x not found",
            5,
        ),
        ({"error": "only this", "code": 3}, "only this", 3),
        ({"error_message": "upload failed", "error_details": "…"}, "upload failed", None),
        ({"message": "  ", "error": "used"}, "used", None),
        ({"message": 17, "code": "3"}, "HTTP 400", None),
        ({"code": True, "message": "m"}, "m", None),
        ([1, 2], "[1, 2]", None),
        (b"upstream connect error", "upstream connect error", None),
        (b"", "HTTP 400", None),
        (b'{"message": "cut', '{"message": "cut', None),
        (b"\xff\xfe", "\ufffd\ufffd", None),
        (b"[" * 100_000, "[" * 3999 + "…", None),
    ],
)
def test_the_message_is_the_servers_own(body: object, message: str, code: int | None) -> None:
    error = error_from_answer(answer(400, body))
    assert (error.message, error.code) == (message, code)


def test_the_text_names_the_request_and_details_are_kept() -> None:
    error = error_from_answer(answer(404, {"message": "gone", "details": [{"x": 1}]}))
    assert str(error) == "GET /apis/v2beta1/runs: gone"
    assert error.details == ({"x": 1},)


def test_a_proxys_page_is_not_quoted() -> None:
    error = error_from_answer(answer(502, b"<html>bad gateway</html>", **{"content-type": "text/html"}))
    assert "HTML page" in error.message
    assert "<html>" not in error.message


def test_a_redirect_names_where_without_its_query() -> None:
    error = error_from_answer(answer(302, b"", location="https://auth.example/login?state=secret"))
    assert "https://auth.example/login" in error.message
    assert "secret" not in error.message


def test_long_messages_and_nul_characters_are_bounded() -> None:
    error = error_from_answer(answer(500, {"message": "a\x00" + "b" * 10_000}))
    assert len(error.message) == errors.MAX_MESSAGE_CHARS
    assert "\x00" not in error.message


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Fri, 02 Jan 2026 03:04:35 GMT", 30.0),
        ("Fri, 02 Jan 2026 03:00:00 GMT", 0.0),
        ("Fri, 02 Jan 2026 03:04:35 -0000", 30.0),
        ("soon", None),
        ("-3", None),
        ("1.5", None),
    ],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert errors.parse_retry_after(text, NOW) == seconds


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpcweb.NOT_FOUND, errors.KfpNotFound),
        (grpcweb.UNIMPLEMENTED, errors.KfpInvalid),
        (grpcweb.INVALID_ARGUMENT, errors.KfpInvalid),
        (grpcweb.UNAUTHENTICATED, errors.KfpAuthError),
        (grpcweb.PERMISSION_DENIED, errors.KfpAuthError),
        (grpcweb.ALREADY_EXISTS, errors.KfpConflict),
        (grpcweb.UNAVAILABLE, errors.KfpServerError),
        (grpcweb.INTERNAL, errors.KfpServerError),
        (99, errors.KfpServerError),
    ],
)
def test_grpc_codes(code: int, kind: type[KfpError]) -> None:
    error = errors.error_from_grpc(grpcweb.GrpcStatusError(code, ""), "Service/Method")
    assert type(error) is kind
    assert error.code == code
    assert str(code) in error.message


@pytest.mark.parametrize(
    ("error", "ambiguous"),
    [
        (errors.KfpUnreachable("refused", sent=False), False),
        (errors.KfpUnreachable("reset", sent=True), True),
        (errors.KfpBadAnswer("cut", cut=True), True),
        (errors.KfpBadAnswer("page"), True),
    ],
)
def test_what_leaves_it_open(error: KfpError, ambiguous: bool) -> None:
    assert error.ambiguous is ambiguous
