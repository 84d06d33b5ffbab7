"""What can go wrong with the Kubernetes API.

KubeError            the request did not give what was asked for; by itself: try again later
├── KubeConfigError  there is no usable configuration: no kubeconfig, no service account
├── KubeUnauthorized 401, also with credentials that were just read again
├── KubeForbidden    403: the Role does not allow it
├── KubeNotFound     404: no such resource, for Workflows that Argo is not installed
└── KubeGone         410: the resource version or the continuation is too old; list again
"""

from __future__ import annotations


class KubeError(Exception):
    """A request that gave no usable answer; ``status`` is HTTP's, ``None`` if there was none."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class KubeConfigError(KubeError):
    """No configuration leads to a cluster; the text says what was looked for."""


class KubeUnauthorized(KubeError):
    """The cluster does not take the credentials."""


class KubeForbidden(KubeError):
    """The credentials are known and not allowed to do this."""


class KubeNotFound(KubeError):
    """The resource, or the whole kind, is not there."""


class KubeGone(KubeError):
    """A resource version or a continuation has expired; only a new list helps."""


# What waiting does not cure: a person has to change a Role, a setting or the cluster.
LASTING = (KubeConfigError, KubeForbidden, KubeNotFound)
