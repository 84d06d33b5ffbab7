"""Secrets taken out of what is shown, logged and stored: by the names of values, and by how secrets look.

Not a guarantee: a secret under a harmless name that looks like any word stays. Rules are bounded, so that a
hostile text costs no more than its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

HIDDEN = "***"
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORDS = {
    "password",
    "passwd",
    "passphrase",
    "secret",
    "secrets",
    "credential",
    "credentials",
    "apikey",
}
# Words of payments and of shells too: they tell of a secret at the end of a name alone.
_LAST_SECRET_WORDS = {"authorization", "pwd"}
_KEYS = {"api", "access", "private", "secret", "signing", "encryption", "account", "shared", "master", "auth"}
# What stands before "token" where it is one of a language model, or a place in a list.
_HARMLESS_TOKENS = {
    *("pad", "eos", "bos", "unk", "sep", "cls", "mask", "special", "start", "end", "stop", "image", "new"),
    *("next", "page", "first", "last", "per", "max", "min", "continuation"),
}
# A name that ends so tells of a secret, and is none itself.
_ABOUT = {
    *("name", "names", "file", "path", "dir", "ref", "id", "ids", "length", "policy", "count", "version"),
    *("type", "enabled", "required", "namespace", "mount"),
}

_NAMED = re.compile(r"""(?<![\w.])([A-Za-z_][\w.-]{0,127})["']?(\s{0,3}[=:]\s{0,3})["']?""")
_VALUE = re.compile(r"""[^\s"',;&]{3,512}""")
_LOOKS: tuple[tuple[re.Pattern[str], int], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(.*?)(?:-----END|\Z)", re.DOTALL), 1),
    (
        re.compile(
            r"""authorization["']?\s{0,3}[:=]\s{0,3}["']?(?:(?:bearer|basic|token|apikey)\s{1,3})?+([^\s"',;]{3,4096})""",
            re.IGNORECASE,
        ),
        1,
    ),
    (re.compile(r"\bbearer\s{1,3}((?=[^\s\"']{0,200}[\d._])[^\s\"',;]{8,4096})", re.IGNORECASE), 1),
    (re.compile(r"://[^/\s:@]{0,256}:([^/\s@]{1,512})@"), 1),
    (
        re.compile(
            r"""[?&](?:x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|sig|signature|sas"""
            r"""|token|access_token|api_key|key)=([^&\s"'#]{4,4096})""",
            re.IGNORECASE,
        ),
        1,
    ),
    (re.compile(r"\beyJ[\w-]{8,4096}\.[\w-]{8,4096}\.[\w-]{0,4096}"), 0),
    (
        re.compile(
            r"\b(?:whsec_[A-Za-z0-9+/=]{16,128}|kfb_[0-9a-f]{8,32}_[\w-]{16,64}|gh[pousr]_\w{20,255}"
            r"|github_pat_\w{20,255}|glpat-[\w-]{16,64}|xox[abpr]-[\w-]{10,255}|hf_[A-Za-z0-9]{20,64}"
            # One part of a key is long and has digits in it; a name of words has none such.
            r"|sk-(?=(?:[A-Za-z0-9]{0,64}[_-]){0,8}(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{16})[\w-]{20,255}|A(?:KIA|SIA)[A-Z0-9]{16}|AIza[\w-]{30,64})"
        ),
        0,
    ),
)
_USERINFO = re.compile(r"(?<=://)[^/?#\s]*@")
# Texts without any of these, nearly all, are left as they are after one look.
_SUSPICIOUS = re.compile(
    r"[=:]\s{0,3}[\"']?\w|bearer|://|eyJ|PRIVATE KEY|whsec_|kfb_|gh[pousr]_|github_pat|glpat-|xox|hf_|sk-"
    r"|AKIA|ASIA|AIza",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def is_secret_name(name: str) -> bool:
    """Whether a value of this name is to be kept secret: ``dbPassword``, ``hf_token``, ``api-key``; not
    ``max_tokens``, ``pad_token``, ``secret_name``."""
    words = [word.lower() for word in _WORDS.findall(name[:256])]
    if not words or words[-1] in _ABOUT:
        return False
    if words[-1] in _LAST_SECRET_WORDS or any(word in _SECRET_WORDS for word in words):
        return True
    before = words[-2] if len(words) > 1 else ""
    return (words[-1] == "token" and before not in _HARMLESS_TOKENS) or (
        words[-1] == "key" and before in _KEYS
    )


def redact_text(text: str) -> str:
    """The text without what looks like a secret: credentials in URLs and headers, values that are given names
    of secrets, keys and tokens of known shapes."""
    return _redacted(text, lambda _: HIDDEN)


def redact_uri(uri: str) -> str:
    """A URI without credentials and signatures. Most have room for neither, and there are many."""
    return redact_text(uri) if "?" in uri or "@" in uri else uri


def without_credentials(url: str) -> str:
    """An address to show: without user, password and signatures, whichever of them stand in it."""
    return redact_uri(_USERINFO.sub("", url, count=1))


def redact_bytes(content: bytes) -> bytes:
    """A log likewise, of the same length, so that places in it stay what they are."""
    return _redacted(content.decode("latin-1"), lambda secret: "*" * len(secret)).encode("latin-1")


def redact_named(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name without those whose names say that they are secret, whatever is nested in them, and
    without what looks like one in the others."""
    return {name: HIDDEN if _is_secret(name, value) else _plain(value) for name, value in values.items()}


def _is_secret(name: str, value: Any) -> bool:
    # Nothing, yes and no are no secrets, and hiding them hides that none was given. Numbers are measures:
    # whoever reads them as outputs goes on calculating with them.
    if value is None or value == "" or isinstance(value, bool | int | float):
        return False
    return is_secret_name(name) and not (isinstance(value, str) and _is_folder(name, value))


def _is_folder(name: str, value: str) -> bool:
    """As in ``PWD=/home/ada``."""
    return name.lower() == "pwd" and value.startswith("/")


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, Mapping):
        return redact_named(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _redacted(text: str, hide: Callable[[str], str]) -> str:
    if _SUSPICIOUS.search(text) is None:
        return text
    for look, group in _LOOKS:
        text = look.sub(partial(_without, group=group, hide=hide), text)
    return _without_named(text, hide)


def _without_named(text: str, hide: Callable[[str], str]) -> str:
    pieces, reached = [], 0
    for named in _NAMED.finditer(text):
        # A value of one name may itself name another: "failed: api_key=…".
        if named.start() < reached or not is_secret_name(named[1]):
            continue
        value = _VALUE.match(text, named.end())
        if value is None or set(value[0]) <= {"*"} or _is_prose(named, value[0]):
            continue
        if _is_folder(named[1], value[0]):
            continue
        pieces += [text[reached : value.start()], hide(value[0])]
        reached = value.end()
    return "".join([*pieces, text[reached:]])


def _is_prose(named: re.Match[str], value: str) -> bool:
    """As in "unexpected token: foo"."""
    last = _WORDS.findall(named[1])[-1].lower()
    return ":" in named[2] and last in ("token", "key", "authorization") and not _looks_made_up(value)


def _looks_made_up(value: str) -> bool:
    return len(value) >= 8 and any(sign.isdigit() for sign in value)


def _without(match: re.Match[str], *, group: int, hide: Callable[[str], str]) -> str:
    start, end = match.start(group) - match.start(), match.end(group) - match.start()
    secret = match[group]
    if set(secret) <= {"*"}:
        return match[0]
    return match[0][:start] + hide(secret) + match[0][end:]
