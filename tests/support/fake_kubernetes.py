"""A Kubernetes API over HTTP, in threads on a free port: as much of it as the bridge may use.

Lists with limit and continue, watches with chunked JSON lines, resource versions, bookmarks and time
limits, RBAC and bearer tokens as the real one answers them. Tests move Workflows and pods, and lay out
trouble: expired versions, connections that hang or are cut in the middle of a line, garbage, 5xx.
"""

from __future__ import annotations

import copy
import json
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

Manifest = dict[str, Any]

# What docs/kubernetes-watch.md asks for; everything else is answered with 403.
MINIMAL_ROLE = frozenset(
    {
        ("list", "workflows"),
        ("get", "workflows"),
        ("watch", "workflows"),
        ("list", "pods"),
        ("get", "pods"),
        ("get", "pods/log"),
        ("list", "events"),
    }
)
WORKFLOWS = "/apis/argoproj.io/v1alpha1"
_TICK_SECONDS = 0.02


@dataclass(frozen=True)
class Asked:
    """One request: what it was about, and how."""

    verb: str
    resource: str
    namespace: str
    query: Mapping[str, str]
    accept: str
    token: str


@dataclass
class FakeKubernetes:
    """The cluster's state, what it was asked, and the trouble it makes."""

    allowed: frozenset[tuple[str, str]] = MINIMAL_ROLE
    namespaces: frozenset[str] | None = None
    tokens: set[str] = field(default_factory=set)
    reviewed: dict[str, Manifest] = field(default_factory=dict)
    has_argo: bool = True
    # Old servers, and some proxies, answer with whole objects whatever is asked for.
    whole_objects: bool = False
    bookmarks: bool = True
    asked: list[Asked] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    pods: dict[str, Manifest] = field(default_factory=dict)
    events: list[Manifest] = field(default_factory=list)
    url: str = ""
    _workflows: dict[str, Manifest] = field(default_factory=dict)
    _log: list[tuple[int, str, Manifest]] = field(default_factory=list)
    _version: int = 100
    _compacted: int = 0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _trouble: list[str] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)
    open_watches: int = 0

    # What tests do

    def add_workflow(
        self, kfp_run_id: UUID | str, *, namespace: str = "kubeflow", phase: str = "Running", **labels: str
    ) -> str:
        """A Workflow of a run; its name."""
        name = f"flow-{str(kfp_run_id)[:8]}"
        manifest: Manifest = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "Workflow",
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {"pipeline/runid": str(kfp_run_id), **labels},
            },
            "spec": {"arguments": {}, "templates": [{"name": "big", "args": ["x" * 2000]}]},
            "status": {"nodes": {}},
        }
        _set_phase(manifest, phase)
        self._write("ADDED", manifest)
        return name

    def set_phase(self, kfp_run_id: UUID | str, phase: str, *, stored: bool = False) -> None:
        """Argo moves the Workflow on; ``stored``: KFP's API server marks its end as stored."""
        manifest = self._of_run(kfp_run_id)
        _set_phase(manifest, phase)
        if stored:
            manifest["metadata"]["labels"]["pipeline/persistedFinalState"] = "true"
        self._write("MODIFIED", manifest)

    def set_nodes(self, kfp_run_id: UUID | str, *nodes: Manifest, message: str = "") -> None:
        """What the Workflow says of its steps."""
        manifest = self._of_run(kfp_run_id)
        manifest["status"]["nodes"] = {node.get("id", str(n)): node for n, node in enumerate(nodes)}
        if message:
            manifest["status"]["message"] = message
        self._write("MODIFIED", manifest)

    def delete_workflow(self, kfp_run_id: UUID | str) -> None:
        """The Workflow's time to live is over."""
        self._write("DELETED", self._of_run(kfp_run_id))

    def add_pod(
        self,
        name: str,
        kfp_run_id: UUID | str,
        status: Manifest,
        *,
        namespace: str = "kubeflow",
        node: str = "",
    ) -> None:
        """A pod of a run, or its new status."""
        self.pods[name] = {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "labels": {
                    "pipeline/runid": str(kfp_run_id),
                    "workflows.argoproj.io/workflow": f"flow-{str(kfp_run_id)[:8]}",
                },
                "annotations": {"workflows.argoproj.io/node-name": node},
            },
            "status": status,
        }

    def add_event(self, pod: str, reason: str, message: str, *, kind: str = "Warning") -> None:
        """An event of a pod."""
        self.events.append(
            {
                "type": kind,
                "reason": reason,
                "message": message,
                "involvedObject": {"kind": "Pod", "name": pod},
                "metadata": {"namespace": self.pods[pod]["metadata"]["namespace"]},
                "firstTimestamp": "2026-08-01T12:00:00Z",
            }
        )

    def compact(self) -> None:
        """Forget the past: every resource version so far is too old from here on."""
        with self._lock:
            self._version += 1
            self._compacted = self._version

    def trouble(self, *kinds: str) -> None:
        """What the next watches do, one each: ``gone-event``, ``hang``, ``cut``, ``garbage``, ``500``,
        ``end`` (at once), ``error-event``."""
        with self._lock:
            self._trouble += kinds

    def count(self, verb: str, resource: str = "workflows") -> int:
        """How often that was asked."""
        return sum(1 for one in list(self.asked) if (one.verb, one.resource) == (verb, resource))

    def drop_watches(self) -> None:
        """End every open watch, as a restart of the API server does."""
        self._ended.set()
        deadline = time.monotonic() + 5
        while self.open_watches and time.monotonic() < deadline:
            time.sleep(_TICK_SECONDS)
        self._ended.clear()

    def write_kubeconfig(self, path: Path, *, token: str = "") -> Path:
        """A kubeconfig that leads here; JSON is YAML."""
        user = {"token": token} if token else {}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "bridge", "user": user}],
            "contexts": [
                {"name": name, "context": {"cluster": "fake", "user": "bridge"}} for name in ("fake", "other")
            ],
            "current-context": "fake",
        }
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    # What the server does

    def _of_run(self, kfp_run_id: UUID | str) -> Manifest:
        with self._lock:
            return copy.deepcopy(
                next(
                    one
                    for one in self._workflows.values()
                    if one["metadata"]["labels"].get("pipeline/runid") == str(kfp_run_id)
                )
            )

    def _write(self, kind: str, manifest: Manifest) -> None:
        with self._lock:
            self._version += 1
            manifest["metadata"]["resourceVersion"] = str(self._version)
            key = f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"
            if kind == "DELETED":
                self._workflows.pop(key)
            else:
                self._workflows[key] = manifest
            self._log.append((self._version, kind, copy.deepcopy(manifest)))

    def next_trouble(self) -> str | None:
        """What the next watch is to suffer."""
        with self._lock:
            return self._trouble.pop(0) if self._trouble else None

    def since(self, version: int, namespace: str, labels: str) -> list[tuple[int, str, Manifest]] | None:
        """The events after a version; ``None`` if it is too old."""
        with self._lock:
            if version < self._compacted:
                return None
            return [
                entry
                for entry in self._log
                if entry[0] > version and _in(entry[2], namespace) and _labelled(entry[2], labels)
            ]

    def page(self, objects: list[Manifest], query: Mapping[str, str]) -> Manifest | None:
        """A page of a list; ``None`` if the continuation is too old."""
        with self._lock:
            version, start = self._version, 0
            if query.get("continue"):
                version, start = (int(part) for part in query["continue"].split("."))
                if version < self._compacted:
                    return None
            limit = int(query.get("limit") or len(objects) or 1)
            metadata: Manifest = {"resourceVersion": str(version)}
            if start + limit < len(objects):
                metadata["continue"] = f"{version}.{start + limit}"
            return {"metadata": metadata, "items": objects[start : start + limit]}

    def workflows(self, namespace: str, labels: str) -> list[Manifest]:
        """The Workflows that a list may give."""
        with self._lock:
            found = [copy.deepcopy(one) for _, one in sorted(self._workflows.items())]
        return [one for one in found if _in(one, namespace) and _labelled(one, labels)]

    @property
    def ended(self) -> bool:
        """Whether open watches are to end."""
        return self._ended.is_set()

    @property
    def version(self) -> int:
        """The newest resource version."""
        return self._version


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # A cut connection is the test's doing.
    cluster: FakeKubernetes

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what was asked is in ``asked``."""

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        resource, namespace, name = _parse(parts.path)
        verb = "watch" if query.get("watch") == "true" else "get" if name else "list"
        token = (self.headers.get("authorization") or "").partition(" ")[2]
        asked = Asked(verb, resource, namespace, query, self.headers.get("accept") or "", token)
        self.cluster.asked.append(asked)
        refusal = self._refusal(asked)
        if refusal is not None:
            self._status(*refusal)
        elif verb == "watch":
            self._watch(asked)
        elif resource == "pods/log":
            text = self.cluster.logs.get(name)
            self._text(text) if text is not None else self._status(404, "NotFound", "no such container")
        else:
            self._list(asked)

    def do_POST(self) -> None:
        """TokenReview, of the tokens in ``reviewed``, and SelfSubjectAccessReview, of whoever asks."""
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)))
        token = (self.headers.get("authorization") or "").partition(" ")[2]
        if self.cluster.tokens and token not in self.cluster.tokens:
            self._status(401, "Unauthorized", "Unauthorized")
        elif asked["kind"] == "TokenReview":
            self._review_token(asked)
        else:
            self._review_access(asked, token)

    def _review_access(self, asked: Manifest, token: str) -> None:
        wanted = asked["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (wanted["resource"], wanted["subresource"])))
        question = Asked(wanted["verb"], resource, wanted["namespace"], {}, "", token)
        status = {"allowed": self._refusal(question) is None}
        self._send(201, json.dumps({**asked, "status": status}).encode())

    def _review_token(self, asked: Manifest) -> None:
        if ("create", "tokenreviews") not in self.cluster.allowed:
            self._status(403, "Forbidden", "tokenreviews is forbidden")
            return
        assert self.path == "/apis/authentication.k8s.io/v1/tokenreviews"
        user = self.cluster.reviewed.get(asked["spec"]["token"])
        status: Manifest = {"authenticated": user is not None}
        if user is not None:
            status |= {"user": user, "audiences": asked["spec"]["audiences"]}
        self._send(201, json.dumps({**asked, "status": status}).encode())

    def _refusal(self, asked: Asked) -> tuple[int, str, str] | None:
        cluster = self.cluster
        if cluster.tokens and asked.token not in cluster.tokens:
            return 401, "Unauthorized", "Unauthorized"
        if asked.resource == "workflows" and not cluster.has_argo:
            return 404, "NotFound", "the server could not find the requested resource"
        outside = cluster.namespaces is not None and asked.namespace not in cluster.namespaces
        if (asked.verb, asked.resource) not in cluster.allowed or outside:
            return (
                403,
                "Forbidden",
                f'{asked.resource} is forbidden: User "bridge" cannot {asked.verb} '
                f'resource "{asked.resource}" in the namespace "{asked.namespace}"',
            )
        return None

    def _list(self, asked: Asked) -> None:
        cluster, labels = self.cluster, asked.query.get("labelSelector", "")
        if asked.resource == "workflows":
            objects = cluster.workflows(asked.namespace, labels)
            if "PartialObjectMetadataList" in asked.accept and not cluster.whole_objects:
                objects = [_only_metadata(one) for one in objects]
        elif asked.resource == "pods":
            objects = [one for one in cluster.pods.values() if _labelled(one, labels)]
            wanted = asked.query.get("fieldSelector", "").removeprefix("status.phase=")
            objects = [one for one in objects if not wanted or one["status"].get("phase") == wanted]
        else:
            pod = asked.query.get("fieldSelector", "").rpartition("involvedObject.name=")[2]
            objects = [one for one in cluster.events if one["involvedObject"]["name"] == pod]
        page = cluster.page([one for one in objects if _in(one, asked.namespace)], asked.query)
        if page is None:
            self._status(410, "Expired", "The provided continue parameter is too old")
        else:
            self._send(200, json.dumps(page).encode())

    def _watch(self, asked: Asked) -> None:
        cluster, trouble = self.cluster, self.cluster.next_trouble()
        version = int(asked.query.get("resourceVersion") or 0)
        if trouble == "500":
            self._status(500, "InternalError", "etcdserver: leader changed")
            return
        if trouble is None and cluster.since(version, asked.namespace, "") is None:
            self._status(410, "Expired", f"too old resource version: {version}")
            return
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        cluster.open_watches += 1
        try:
            self._stream(asked, version, trouble)
        except OSError:
            self.close_connection = True
        finally:
            cluster.open_watches -= 1

    def _stream(self, asked: Asked, version: int, trouble: str | None) -> None:
        cluster = self.cluster
        until = time.monotonic() + float(asked.query.get("timeoutSeconds", 3600))
        told_bookmark = False
        if trouble == "gone-event":
            self._event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
            return self._finish()
        if trouble == "error-event":
            self._event("ERROR", {"kind": "Status", "code": 500, "message": "etcd is away"})
            return self._finish()
        if trouble == "garbage":
            self._chunk(b'{"type":"MODIFIED","object":\n[]\nnull\n{"type":"MODIFIED"}\n\n')
        if trouble == "end":
            return self._finish()
        while time.monotonic() < until and not cluster.ended:
            events = [] if trouble == "hang" else cluster.since(version, asked.namespace, "") or []
            for number, kind, manifest in events:
                version = number
                if not _labelled(manifest, asked.query.get("labelSelector", "")):
                    continue
                partial = "PartialObjectMetadata" in asked.accept and not cluster.whole_objects
                subject = _only_metadata(manifest) if partial else manifest
                if trouble == "cut":
                    whole = json.dumps({"type": kind, "object": subject}).encode()
                    self._chunk(whole[: len(whole) // 2])
                    self.close_connection = True
                    self.connection.close()
                    return None
                self._event(kind, subject)
            if not events and not told_bookmark and cluster.bookmarks and trouble != "hang":
                told_bookmark = True
                version = max(version, cluster.version)
                self._event("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})
            time.sleep(_TICK_SECONDS)
        return self._finish()

    def _event(self, kind: str, subject: Manifest) -> None:
        line = json.dumps({"type": kind, "object": subject}).encode() + b"\n"
        # In two chunks: nothing says that a line comes whole.
        self._chunk(line[:20])
        self._chunk(line[20:])

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _finish(self) -> None:
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def _status(self, code: int, reason: str, message: str) -> None:
        body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
        self._send(code, json.dumps(body).encode())

    def _text(self, text: str) -> None:
        self._send(200, text.encode(), "text/plain")

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serve_kubernetes(*, certificate: tuple[Path, Path] | None = None) -> Iterator[FakeKubernetes]:
    """A cluster that serves until the end of the block; over TLS with a certificate and its key."""
    cluster = FakeKubernetes()
    handler = type("Handler", (_Handler,), {"cluster": cluster})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    cluster.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield cluster
    finally:
        cluster._ended.set()
        server.shutdown()
        thread.join(5)
        server.server_close()


def _parse(path: str) -> tuple[str, str, str]:
    parts = path.removeprefix(WORKFLOWS).removeprefix("/api/v1").strip("/").split("/")
    namespace = ""
    if parts[0] == "namespaces":
        namespace, parts = parts[1], parts[2:]
    resource, name = parts[0], parts[1] if len(parts) > 1 else ""
    return (f"{resource}/{parts[2]}" if len(parts) > 2 else resource), namespace, name


def _set_phase(manifest: Manifest, phase: str) -> None:
    labels = manifest["metadata"]["labels"]
    finished = phase in ("Succeeded", "Failed", "Error")
    labels["workflows.argoproj.io/phase"] = phase
    labels["workflows.argoproj.io/completed"] = "true" if finished else "false"
    manifest["status"]["phase"] = phase
    manifest["status"]["finishedAt"] = "2026-08-01T12:00:00Z" if finished else None


def _in(manifest: Manifest, namespace: str) -> bool:
    return not namespace or manifest["metadata"]["namespace"] == namespace


def _labelled(manifest: Manifest, selector: str) -> bool:
    labels = manifest["metadata"].get("labels", {})
    for term in filter(None, selector.split(",")):
        name, equals, value = term.partition("=")
        if name not in labels or (equals and labels[name] != value):
            return False
    return True


def _only_metadata(manifest: Manifest) -> Manifest:
    return {"kind": "PartialObjectMetadata", "metadata": manifest["metadata"]}
