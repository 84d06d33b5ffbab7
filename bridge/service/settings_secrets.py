"""What of settings is secret: found by how it is declared, so that no new setting can be forgotten."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, SecretStr

_LOGIN = re.compile(r"[\w+.-]+://([^/?#\s:@]*)(?::([^/?#\s@]*))?@")


def secrets_in(value: Any) -> Iterator[str]:
    """Everything that is declared as secret, however deep, and what addresses carry to log in with."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from secrets_in(getattr(value, name))
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from secrets_in(one)
    elif isinstance(value, tuple):
        for one in value:
            yield from secrets_in(one)
    elif isinstance(value, str) and (login := _LOGIN.match(value)) is not None:
        # An address with one word alone carries a token.
        yield login[2] or login[1]
