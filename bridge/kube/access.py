"""Requests to the Kubernetes API through the official client: where the cluster is, and as whom.

The client is synchronous, so everything here blocks and belongs into a thread. It is imported when it is
first needed: loading its models takes a second and 60 MB, which a service without a watch does not pay.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.kube.errors import (
    KubeConfigError,
    KubeError,
    KubeForbidden,
    KubeGone,
    KubeNotFound,
    KubeUnauthorized,
)

log = logging.getLogger(__name__)

SERVICE_ACCOUNT_DIR = Path("/var/run/secrets/kubernetes.io/serviceaccount")
MAX_ANSWER_BYTES = 32 * 1024 * 1024
_MAX_TOLD = 300
_ERRORS: Mapping[int, type[KubeError]] = {
    401: KubeUnauthorized,
    403: KubeForbidden,
    404: KubeNotFound,
    410: KubeGone,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach a cluster: a kubeconfig and a context of it, else the pod's own service account."""

    kubeconfig: Path | None = None
    context: str | None = None
    service_account_dir: Path = SERVICE_ACCOUNT_DIR
    timeout_seconds: float = 10.0


class KubeApi:
    """Reads from one cluster. Usable from several threads; every call blocks."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._client: Any = None

    def close(self) -> None:
        """Forget connections and credentials; the next call begins anew."""
        with self._lock:
            self._client = None

    def get(self, path: str, query: Mapping[str, object], *, accept: str = "application/json") -> Any:
        """A resource as JSON. Raises ``KubeError``."""
        text = self.get_text(path, query, accept=accept)
        try:
            return json.loads(text)
        except ValueError as error:
            raise KubeError(f"{path} did not answer with JSON: {error}") from error

    def get_text(self, path: str, query: Mapping[str, object], *, accept: str = "*/*") -> str:
        """A resource as text, of at most ``MAX_ANSWER_BYTES``. Raises ``KubeError``."""
        with self.open(path, query, accept=accept, read_seconds=self._access.timeout_seconds) as answer:
            data: bytes = answer.read(MAX_ANSWER_BYTES + 1)
        if len(data) > MAX_ANSWER_BYTES:
            raise KubeError(f"{path} answered with more than {MAX_ANSWER_BYTES} bytes")
        return data.decode("utf-8", "replace")

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the cluster answers to a question that it takes as an object, as JSON: a review of access.
        Raises ``KubeError``."""
        with self.open(
            path, {}, accept="application/json", read_seconds=self._access.timeout_seconds, body=body
        ) as answer:
            data: bytes = answer.read(MAX_ANSWER_BYTES)
        try:
            return json.loads(data)
        except ValueError as error:
            raise KubeError(f"{path} did not answer with JSON: {error}") from error

    @contextmanager
    def open(
        self,
        path: str,
        query: Mapping[str, object],
        *,
        accept: str,
        read_seconds: float,
        body: Mapping[str, Any] | None = None,
    ) -> Iterator[Any]:
        """The open answer (urllib3's) to a GET, or to a POST of the ``body``; nothing heard for
        ``read_seconds`` is an error.

        Credentials that are refused are read again, once: a rotated token, a renewed kubeconfig.
        Raises ``KubeError``, also for what breaks while the answer is read.
        """
        try:
            answer = self._request(path, query, accept, read_seconds, body)
        except KubeUnauthorized:
            self.close()
            answer = self._request(path, query, accept, read_seconds, body)
        import urllib3.exceptions

        try:
            yield answer
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise KubeError(f"{path}: {_brief(error)}") from error
        finally:
            # Closed and not given back: what is left of an answer may never end.
            answer.close()

    def _request(
        self,
        path: str,
        query: Mapping[str, object],
        accept: str,
        read_seconds: float,
        body: Mapping[str, Any] | None,
    ) -> Any:
        import urllib3.exceptions
        from kubernetes.client.exceptions import ApiException

        client = self._connected()
        parameters = [(name, _text(value)) for name, value in query.items() if value is not None]
        try:
            return client.call_api(
                path,
                "GET" if body is None else "POST",
                query_params=parameters,
                header_params={"Accept": accept, **({"Content-Type": "application/json"} if body else {})},
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _return_http_data_only=True,
                _request_timeout=(self._access.timeout_seconds, read_seconds),
            )
        except ApiException as error:
            raise _refusal(path, error) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise KubeError(f"{path}: {_brief(error)}") from error

    def _connected(self) -> Any:
        with self._lock:
            if self._client is None:
                self._client = _connect(self._access)
            return self._client


def _connect(access: Access) -> Any:
    try:
        from kubernetes.client import ApiClient, Configuration
        from kubernetes.config import load_kube_config
        from kubernetes.config.config_exception import ConfigException
        from kubernetes.config.incluster_config import InClusterConfigLoader
        from yaml import YAMLError
    except ImportError as error:
        raise KubeConfigError(f"the package kubernetes is not installed: {error}") from error

    configuration = Configuration()
    # The watch and whoever asks repeat by their own rules; two layers of retries would only add up.
    configuration.retries = False
    try:
        if access.kubeconfig is not None or access.context is not None:
            load_kube_config(
                str(access.kubeconfig) if access.kubeconfig else None,
                access.context,
                client_configuration=configuration,
                persist_config=False,
            )
        else:
            folder = access.service_account_dir
            loader = InClusterConfigLoader(
                token_filename=str(folder / "token"), cert_filename=str(folder / "ca.crt"), environ=os.environ
            )
            loader.load_and_set(configuration)
    except (ConfigException, YAMLError, OSError, ValueError) as error:
        where = (
            f"kubeconfig {access.kubeconfig or 'of the user'}"
            if access.kubeconfig or access.context
            else f"the service account in {access.service_account_dir}"
        )
        raise KubeConfigError(f"no access to a cluster by {where}: {_brief(error)}") from error
    return ApiClient(configuration)


def _refusal(path: str, error: Any) -> KubeError:
    told = str(error.reason or "")
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        told = json.loads(body).get("message") or told
    except (ValueError, AttributeError):
        told = told or body
    kind = _ERRORS.get(error.status, KubeError)
    return kind(f"{path} answered {error.status}: {told[:_MAX_TOLD]}", status=error.status)


def _brief(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:_MAX_TOLD]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
