from __future__ import annotations

import time

import pytest

from bridge.domain.redaction import (
    is_secret_name,
    redact_bytes,
    redact_named,
    redact_text,
    without_credentials,
)

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "name",
    [
        *("password", "dbPassword", "DB_PASSWORD", "db.password", "passwd", "hf_token", "apiToken", "token"),
        *(
            "api_key",
            "api-key",
            "apikey",
            "AWS_SECRET_ACCESS_KEY",
            "client_secret",
            "credentials",
            "private_key",
        ),
        *("Authorization", "proxy-authorization", "encryptionKey", "secretValue", "db_pwd", "PWD"),
    ],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "max_tokens",
            "tokenizer",
            "pad_token",
            "eosToken",
            "token_count",
            "next_page_token",
            "key",
            "epochs",
        ),
        *(
            "partition_key",
            "secret_name",
            "password_file",
            "credentials_path",
            "access_key_id",
            "",
            "_",
            "author",
            "authorization_rate",
            "authorizationCount",
            "pwd_checks",
        ),
    ],
)
def test_names_that_only_sound_so(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://bridge:hunter2@db/x", "postgresql://bridge:***@db/x"),
        ("GET failed, Authorization: Bearer abc.def", "GET failed, Authorization: Bearer ***"),
        ('{"authorization": "Basic dXNlcjpwYXNz"}', '{"authorization": "Basic ***"}'),
        ("sent bearer 0123456789abcdef to it", "sent bearer *** to it"),
        ("https://b.s3/x?X-Amz-Signature=0a1b2c&part=1", "https://b.s3/x?X-Amz-Signature=***&part=1"),
        ("pod failed: api_key=hunter2", "pod failed: api_key=***"),
        ("run --token=x1hunter2 --epochs=3", "run --token=*** --epochs=3"),
        ("password=hunter2 user=ada", "password=*** user=ada"),
        ('{"db_password": "hunter2", "n": 1}', '{"db_password": "***", "n": 1}'),
        ("API_KEY='k-123456'", "API_KEY='***'"),
        ("token: 8f14e45fceea167a", "token: ***"),
        (f"got {JWT}!", "got ***!"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "***"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),
        ("sk-0123456789abcdefghijABCDEFGHIJ0123456789abcdefgh", "***"),
        ("sk-proj-a1B2c3_D4e5F6g7H8i9J0kL1mN2oP3q-R4s5T6", "***"),
        ("pwd=hunter2", "pwd=***"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----",
            "-----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY-----",
        ),
    ],
)
def test_secrets_are_known_by_their_looks(text: str, shown: str) -> None:
    assert redact_text(text) == shown
    assert redact_text(shown) == shown
    same_length = redact_bytes(text.encode())
    assert len(same_length) == len(text)
    assert b"**" in same_length


@pytest.mark.parametrize(
    "text",
    [
        "SyntaxError: unexpected token: foo",
        "max_tokens=512 tokenizer=bert pad_token=[PAD]",
        'secret "model-registry" not found',
        "Basic authentication is required",
        "https://kubeflow.example:8443/pipeline/runs?page_token=abc",
        "2026-01-01 12:00:00 epoch: 3 loss: 0.25",
        "file:///data/flights.parquet",
        "sk-learn-iris-classifier-v2",
        "sk-learn-gradient-boosting-2024-10-31",
        "PWD=/home/ada/work",
        "authorization_rate=0.93",
        "password: ",
        "",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ada:hunter2@kfp.example:8443/x", "https://kfp.example:8443/x"),
        ("https://hunter2@kfp.example", "https://kfp.example"),
        ("https://kfp.example/?token=hunter2&page=1", "https://kfp.example/?token=***&page=1"),
        ("http://kfp.example/a@b", "http://kfp.example/a@b"),
    ],
)
def test_an_address_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown


def test_values_are_hidden_by_their_names_however_deep() -> None:
    shown = redact_named(
        {
            "epochs": 3,
            "api_key": "abc",
            "pin_password": 1234,
            "secret_share": 0.5,
            "authorization_rate": "0.93",
            "pwd": "/data/in",
            "use_token": True,
            "empty_secret": "",
            "nested": {"credentials": {"user": "ada"}, "list": [{"token": "x"}, "ftp://u:p@h/"]},
        }
    )
    assert shown == {
        "epochs": 3,
        "api_key": "***",
        "pin_password": 1234,
        "secret_share": 0.5,
        "authorization_rate": "0.93",
        "pwd": "/data/in",
        "use_token": True,
        "empty_secret": "",
        "nested": {"credentials": "***", "list": [{"token": "***"}, "ftp://u:***@h/"]},
    }


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "token",
        "password=",
        "sk-",
        "sk-a-",
        "://a:",
        "Bearer ",
        "eyJ",
        "-----BEGIN PRIVATE KEY-----",
        "x=",
        "a.-",
    ],
)
def test_a_hostile_text_costs_no_more_than_its_length(piece: str) -> None:
    began = time.process_time()
    redact_text(piece * (100_000 // len(piece)))
    assert time.process_time() - began < 3
