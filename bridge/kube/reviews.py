"""TokenReview: whose a token is, as the cluster knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bridge.kube.access import KubeApi
from bridge.kube.errors import KubeError

PATH = "/apis/authentication.k8s.io/v1/tokenreviews"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedUser:
    """Who the cluster says it is: ``system:serviceaccount:<namespace>:<name>`` for a service account."""

    name: str
    groups: tuple[str, ...] = ()


def review_token(api: KubeApi, token: str, audiences: Sequence[str]) -> ReviewedUser | None:
    """Whose token that is, if it was made for one of the audiences; ``None`` for any other. Blocks.

    Raises ``KubeError`` if the cluster cannot be asked, or does not let us ask.
    """
    asked = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": list(audiences)},
    }
    status = _object(_object(api.post(PATH, asked)).get("status"))
    # A cluster that knows no audiences says nothing of them, and must not be taken to have looked.
    told = status.get("audiences")
    meant = isinstance(told, list) and any(one in audiences for one in told)
    user = _object(status.get("user"))
    name, groups = user.get("username"), user.get("groups") or []
    if status.get("authenticated") is not True or not meant or not isinstance(name, str) or not name:
        return None
    return ReviewedUser(name=name, groups=tuple(one for one in groups if isinstance(one, str)))


def _object(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise KubeError(f"{PATH} did not answer with a TokenReview")
    return value
