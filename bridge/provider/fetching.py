"""Reading a compiled pipeline that lies elsewhere: at a URL or in an object store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.sdk import ObjectStoragePath

if TYPE_CHECKING:
    import httpx

MAX_PIPELINE_BYTES = 8 * 1024 * 1024
# For one exchange, and for all of the download: a server that drips must not hold a slot.
_EXCHANGE_SECONDS = 30.0
_DOWNLOAD_SECONDS = 60.0
_MAY_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
_MOST_REDIRECTS = 5


class PipelineProblem(ValueError):
    """A pipeline cannot be found or read, or arguments do not fit it; the message lists every problem."""


class PipelineAway(PipelineProblem):
    """A pipeline cannot be read now; a later try may find it."""


def shown(place: str) -> str:
    """A URL for people, without the user and password that it may hold."""
    parts = urlsplit(place)
    if "@" not in parts.netloc:
        return place
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def read_remote(pipeline: str | ObjectStoragePath) -> bytes:
    """The bytes at a URL or an object-store path, 8 MiB at most.

    Raises ``PipelineAway`` where a later try may find them, and ``PipelineProblem`` where not.
    """
    if isinstance(pipeline, str) and urlsplit(pipeline).scheme in ("http", "https"):
        return _download(pipeline)
    path = pipeline if isinstance(pipeline, ObjectStoragePath) else ObjectStoragePath(pipeline)
    try:
        with path.open("rb") as stream:
            content = bytes(stream.read(MAX_PIPELINE_BYTES + 1))
    except (FileNotFoundError, IsADirectoryError, PermissionError, ImportError, ValueError) as error:
        raise PipelineProblem(f"the pipeline {path} cannot be read: {error}") from error
    except OSError as error:
        raise PipelineAway(f"the pipeline {path} cannot be read now: {error}") from error
    _refuse_long(len(content), str(path))
    return content


def _download(url: str) -> bytes:
    import httpx

    place, until = shown(url), time.monotonic() + _DOWNLOAD_SECONDS
    content = bytearray()
    try:
        with (
            httpx.Client(
                follow_redirects=True, max_redirects=_MOST_REDIRECTS, timeout=_EXCHANGE_SECONDS
            ) as http,
            http.stream("GET", url) as response,
        ):
            _check(response, url, place)
            for chunk in response.iter_bytes():
                content += chunk
                _refuse_long(len(content), place)
                if time.monotonic() > until:
                    raise PipelineAway(f"the pipeline {place} has not come in {_DOWNLOAD_SECONDS:g} s")
    except (
        httpx.TooManyRedirects,
        httpx.UnsupportedProtocol,
        httpx.DecodingError,
        httpx.InvalidURL,
    ) as error:
        raise PipelineProblem(f"the pipeline {place} cannot be read: {error}") from error
    except httpx.HTTPError as error:
        cause = str(error) or type(error).__name__
        raise PipelineAway(f"the pipeline {place} cannot be read now: {cause}") from error
    return bytes(content)


def _check(response: httpx.Response, url: str, place: str) -> None:
    if urlsplit(url).scheme == "https" and response.url.scheme != "https":
        raise PipelineProblem(f"the pipeline {place} leads to an address that is not encrypted")
    if response.status_code in _MAY_PASS:
        raise PipelineAway(f"the pipeline {place} cannot be read now: HTTP {response.status_code}")
    if not response.is_success:
        raise PipelineProblem(f"the pipeline {place} cannot be read: HTTP {response.status_code}")


def _refuse_long(length: int, where: str) -> None:
    if length > MAX_PIPELINE_BYTES:
        raise PipelineProblem(
            f"{where} is longer than {MAX_PIPELINE_BYTES} bytes, the most a pipeline may have"
        )
