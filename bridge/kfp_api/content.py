"""Content of artifacts through KFP: its UI's host passes on what lies in the object store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from bridge.kfp_api.client import KfpClient
from bridge.kfp_api.http import Request

# As KFP's UI names the stores.
SOURCES = {"minio": "minio", "s3": "s3", "gs": "gcs"}


def can_pass_on(uri: str) -> bool:
    """Whether KFP's UI passes on what lies at such a URI."""
    return urlsplit(uri).scheme in SOURCES


async def download(kfp: KfpClient, uri: str, target: Path, *, namespace: str | None = None) -> int:
    """Write the object at a URI (``minio://``, ``s3://``, ``gs://``) to a file; how many bytes it has.

    Raises ``KfpError``, and ``ValueError`` for a URI of another kind.
    """
    parts = urlsplit(uri)
    if parts.scheme not in SOURCES:
        raise ValueError(f"KFP passes on objects of {', '.join(SOURCES)}, not {uri}")
    params = {"source": SOURCES[parts.scheme], "bucket": parts.netloc, "key": parts.path.lstrip("/")}
    if namespace:
        params["namespace"] = namespace
    written = 0
    with target.open("wb") as file:
        async for piece in kfp.stream(Request(method="GET", path="/artifacts/get", params=params)):
            written += file.write(piece)
    return written
