"""One way to write a URI, so that what the ETL wrote and what the pipeline read is one node."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:")
# Different names for one place: clients of the same store spell its scheme differently.
_SCHEME_ALIASES = {"s3a": "s3", "s3n": "s3", "minio": "s3", "gcs": "gs"}
_DEFAULT_PORTS = {"http": 80, "https": 443, "postgres": 5432, "postgresql": 5432}
_UNRESERVED = "-._~!$&'()*+,;=:@/"


def normalise_uri(uri: str) -> str:
    """The one spelling of a URI under which datasets and artifacts are stored.

    A bare absolute path becomes ``file:///…``; scheme and host are lowered, default ports, empty
    and dot segments and a trailing slash dropped, percent escapes brought to one form, ``s3a``,
    ``s3n``, ``minio`` and ``gcs`` mapped to ``s3`` and ``gs``. Query and fragment are kept: they
    can name a version. User information is dropped, since a lineage must not hold credentials.
    Opaque URIs (``urn:…``) are returned stripped. Raises ``ValueError`` for an empty or relative one.
    """
    text = uri.strip()
    if not text:
        raise ValueError("an empty URI names nothing")
    if text.startswith("/"):
        text = "file://" + quote(text, safe=_UNRESERVED)
    elif not _SCHEME.match(text):
        raise ValueError(f"{uri!r} is neither a URI with a scheme nor an absolute path")
    parts = urlsplit(text)
    scheme = _SCHEME_ALIASES.get(parts.scheme.lower(), parts.scheme.lower())
    if not parts.netloc and not parts.path.startswith("/"):
        return text
    host = _host(scheme, parts.hostname, parts.netloc, parts.port)
    return urlunsplit((scheme, host, _path(scheme, parts.path), parts.query, parts.fragment))


def _host(scheme: str, hostname: str | None, netloc: str, port: int | None) -> str:
    if hostname is None:
        return ""
    # Bucket names may hold upper case in old stores; only real hosts are case-insensitive.
    host = hostname if scheme not in ("s3", "gs") else netloc.rsplit("@", 1)[-1].split(":", 1)[0]
    if scheme == "file" and host == "localhost":
        return ""
    if ":" in host:
        host = f"[{host}]"
    return host if port is None or port == _DEFAULT_PORTS.get(scheme) else f"{host}:{port}"


def _path(scheme: str, path: str) -> str:
    cleaned = quote(unquote(path), safe=_UNRESERVED)
    if scheme in ("s3", "gs"):
        # Object keys are opaque: '//' and '..' are ordinary characters there.
        return cleaned.rstrip("/")
    cleaned = posixpath.normpath(cleaned) if cleaned else ""
    cleaned = re.sub(r"^/+", "/", cleaned)
    return "" if cleaned in (".", "/") and scheme != "file" else cleaned


def local_path(uri: str) -> str | None:
    """The path on this machine that a ``file:`` URI or bare absolute path names, else ``None``."""
    normal = normalise_uri(uri)
    parts = urlsplit(normal)
    return unquote(parts.path) if parts.scheme == "file" and not parts.netloc else None
