"""The connection to a bridge, and the hook that makes clients of it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException

from bridge.client.errors import BridgeBadAnswer, BridgeError, BridgeUnauthorized, BridgeUnreachable

if TYPE_CHECKING:
    import httpx
    from airflow.sdk import Connection

    from bridge.client.api import AsyncBridgeClient
    from bridge.client.network import AsyncNetwork
    from bridge.client.status import StatusModel
    from bridge.client.sync import BridgeClient

DEFAULT_CONN_ID = "kfbridge_default"
# How long a client repeats what may pass, unless its user says otherwise.
DEFAULT_PATIENCE_SECONDS = 60.0
_FALSE = frozenset({"false", "no", "off", "0"})
_TRUE = frozenset({"", "true", "yes", "on", "1"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeSettings:
    """What an Airflow connection of type ``kfbridge`` says.

    ``verify`` is ``True``, ``False`` (any certificate is accepted) or the path of a CA bundle.
    """

    url: str
    token: str | None = None
    project: str = "default"
    backend: str | None = None
    deployment: str | None = None
    verify: bool | str = True

    @classmethod
    def from_connection(cls, connection: Connection) -> BridgeSettings:
        """The settings in a connection; ``AirflowException`` if it names no URL."""
        extra = connection.extra_dejson
        return cls(
            url=_url(connection),
            token=connection.password or None,
            project=_text(extra, "project") or "default",
            backend=_text(extra, "backend"),
            deployment=_text(extra, "deployment"),
            verify=_verify(extra.get("verify")),
        )

    def client(
        self, *, timeout_seconds: float = 30.0, patience_seconds: float = DEFAULT_PATIENCE_SECONDS
    ) -> BridgeClient:
        """A blocking client; the caller closes it."""
        import httpx

        from bridge.client.sync import BridgeClient

        return BridgeClient(
            self.url,
            token=self.token,
            timeout_seconds=timeout_seconds,
            transport=None if self.verify is True else httpx.HTTPTransport(verify=self._tls()),
            patience_seconds=patience_seconds,
        )

    def async_client(
        self,
        *,
        timeout_seconds: float = 30.0,
        patience_seconds: float = DEFAULT_PATIENCE_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> AsyncBridgeClient:
        """A client for an event loop; the caller closes it."""
        from bridge.client.api import AsyncBridgeClient

        network = self.async_network(timeout_seconds=timeout_seconds, transport=transport)
        return AsyncBridgeClient(self.url, patience_seconds=patience_seconds, network=network)

    @property
    def connection(self) -> tuple[str, str | None, bool | str]:
        """What two waiters must have in common to share connections to the bridge."""
        return self.url, self.token, self.verify

    def async_network(
        self, *, timeout_seconds: float = 30.0, transport: httpx.AsyncBaseTransport | None = None
    ) -> AsyncNetwork:
        """What a client for an event loop speaks through; whoever uses it closes it.

        Raises ``ValueError`` for a URL that cannot be a bridge's.
        """
        import httpx

        from bridge.client.network import AsyncNetwork
        from bridge.client.wire import base_url

        if transport is None and self.verify is not True:
            transport = httpx.AsyncHTTPTransport(verify=self._tls())
        return AsyncNetwork(base_url(self.url), self.token, timeout_seconds, transport)

    def _tls(self) -> ssl.SSLContext:
        if isinstance(self.verify, str):
            return ssl.create_default_context(cafile=self.verify)
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context


class KubeflowBridgeHook(BaseHook):
    """Clients of the bridge that an Airflow connection names.

    :param kfbridge_conn_id: the connection; see the provider's page for its fields.
    """

    conn_name_attr = "kfbridge_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = "kfbridge"
    hook_name = "Kubeflow Bridge"

    def __init__(self, kfbridge_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kfbridge_conn_id = kfbridge_conn_id

    def get_settings(self) -> BridgeSettings:
        """What the connection says."""
        return BridgeSettings.from_connection(self.get_connection(self.kfbridge_conn_id))

    async def aget_settings(self) -> BridgeSettings:
        """As ``get_settings``, for an event loop such as the triggerer's."""
        return BridgeSettings.from_connection(await self.aget_connection(self.kfbridge_conn_id))

    def get_conn(self) -> BridgeClient:
        """A blocking client; use it as a context manager."""
        return self.get_settings().client()

    async def aget_conn(self) -> AsyncBridgeClient:
        """A client for an event loop; use it as an asynchronous context manager."""
        return (await self.aget_settings()).async_client()

    def test_connection(self) -> tuple[bool, str]:
        """Whether a bridge answers and takes the token, and in a sentence what it is or what is wrong."""
        try:
            settings = self.get_settings()
            with settings.client(timeout_seconds=10, patience_seconds=0) as client:
                return True, _describe(settings, client.status())
        except BridgeUnauthorized as error:
            return False, f"A bridge is there, but it wants another token: {error}"
        except BridgeUnreachable as error:
            return False, f"No bridge answers: {error}. Is `kfbridge serve` running there?"
        except BridgeBadAnswer as error:
            return False, f"What answers is not a bridge: {error}"
        except (AirflowException, BridgeError, ValueError, OSError) as error:
            return False, str(error)


def _describe(settings: BridgeSettings, status: StatusModel) -> str:
    def one(name: str, reachable: bool) -> str:
        return name if reachable else f"{name} (unreachable)"

    backends = ", ".join(one(b.name, b.reachable) for b in status.backends) or "none"
    known = {b.name for b in status.backends}
    missing = (
        f"; the connection's backend {settings.backend!r} is none of them"
        if settings.backend and settings.backend not in known
        else ""
    )
    where = f"Bridge {status.version} at {settings.url}, database {status.database}"
    return f"{where}; backends: {backends}{missing}"


def _url(connection: Connection) -> str:
    host = (connection.host or "").strip()
    if not host:
        raise AirflowException(
            f"connection {connection.conn_id!r} names no URL: its host is where the bridge listens, "
            "such as http://127.0.0.1:8700"
        )
    if "://" in host:
        return host.rstrip("/")
    scheme = connection.schema if connection.schema in ("http", "https") else "http"
    port = f":{connection.port}" if connection.port and ":" not in host else ""
    return f"{scheme}://{host}{port}"


def _text(extra: dict[str, Any], name: str) -> str | None:
    value = str(extra.get(name) or "").strip()
    return value or None


def _verify(value: Any) -> bool | str:
    text = str("" if value is None else value).strip()
    if text.lower() in _TRUE:
        return True
    return False if text.lower() in _FALSE else text
