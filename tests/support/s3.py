"""An S3 server on loopback, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
from moto.server import ThreadedMotoServer

KEY = "bridge"
SECRET = "s3-canary-of-the-tests"


@dataclass(frozen=True, slots=True)
class S3Server:
    """A server that speaks S3 over HTTP; its buckets are shared by all servers of this process."""

    url: str

    @property
    def options(self) -> dict[str, str]:
        """How s3fs reaches it."""
        return {"endpoint_url": self.url, "key": KEY, "secret": SECRET}

    @property
    def environment(self) -> dict[str, str]:
        """How all that knows AWS' variables reaches it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def content(self, uri: str) -> bytes:
        """What lies at a URI."""
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        return bytes(self.bucket(bucket).Object(key).get()["Body"].read())

    def bucket(self, name: str) -> Any:
        """The bucket of that name, made if it is not there."""
        resource = boto3.resource(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
        )
        return resource.create_bucket(Bucket=name)


@contextmanager
def running_s3() -> Iterator[S3Server]:
    """A server on a free port, for as long as the block lasts; its buckets go with it."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3Server(f"http://{host}:{port}")
    finally:
        httpx.post(f"http://127.0.0.1:{server.get_host_and_port()[1]}/moto-api/reset").raise_for_status()
        server.stop()
