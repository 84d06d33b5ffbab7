"""Asks the cluster what the bridge may do there, before it is done."""

from __future__ import annotations

from dataclasses import dataclass

from bridge.kube.access import KubeApi

_REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a resource, as a Role's rule says it; ``subresource`` such as ``log``."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}/{self.subresource}" if self.subresource else self.resource
        return f"{self.verb} {resource}"


WORKFLOW_RIGHTS = tuple(Right(verb, "workflows", "argoproj.io") for verb in ("get", "list", "watch"))
EVIDENCE_RIGHTS = (
    Right("get", "pods"),
    Right("list", "pods"),
    Right("get", "pods", subresource="log"),
    Right("list", "events"),
)


def missing_rights(api: KubeApi, namespace: str | None, rights: tuple[Right, ...]) -> list[Right]:
    """Those that the caller lacks in a namespace (``None``: in all). Blocks; raises ``KubeError``."""
    return [right for right in rights if not _is_allowed(api, namespace, right)]


def _is_allowed(api: KubeApi, namespace: str | None, right: Right) -> bool:
    attributes = {
        "verb": right.verb,
        "resource": right.resource,
        "group": right.group,
        "subresource": right.subresource,
        "namespace": namespace or "",
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    status = api.post(_REVIEW, review).get("status") or {}
    return bool(status.get("allowed"))
