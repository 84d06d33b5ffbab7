"""The settings of what the bridge asks Kubernetes itself (docs/kubernetes-watch.md)."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from bridge.kube.access import SERVICE_ACCOUNT_DIR

# Single-user KFP has one namespace, and installs itself under this name.
KFP_NAMESPACE = "kubeflow"
WHOLE_CLUSTER = "*"


class KubernetesSettings(BaseModel):
    """Whether and how one backend's cluster is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(default=False, description="Whether the cluster is asked at all.")
    kubeconfig: Path | None = Field(
        default=None, description="A kubeconfig; without it and context, the pod's service account is used."
    )
    context: str | None = Field(default=None, min_length=1, description="The context of the kubeconfig.")
    service_account_dir: Path = Field(
        default=SERVICE_ACCOUNT_DIR, repr=False, description="Where a pod finds its token and ca.crt."
    )
    namespaces: tuple[str, ...] = Field(
        default=(),
        description='The namespaces to watch; "*" is the whole cluster. Empty: the backend\'s own, which for '
        "single-user KFP is kubeflow.",
    )
    watch_seconds: float = Field(
        default=60.0, ge=1, le=600, description="How long one watch request is kept open."
    )
    watched_tick_seconds: float = Field(
        default=10.0, gt=0, le=3600, description="The shortest pause between sweeps while the watch is well."
    )
    watched_slow_sweep_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="The same for the sweep over unfinished runs.",
    )
    waiting_check_seconds: float = Field(
        default=15.0,
        gt=0,
        le=3600,
        description="How often pods that do not start are asked about while runs go on.",
    )
    timeout_seconds: float = Field(
        default=10.0, gt=0, le=300, description="How long one request to the cluster may take."
    )

    def watched(self, of_backend: tuple[str, ...]) -> tuple[str | None, ...]:
        """The namespaces to ask about; ``None`` is the whole cluster."""
        named = self.namespaces or tuple(name or KFP_NAMESPACE for name in of_backend)
        return (None,) if WHOLE_CLUSTER in named else tuple(dict.fromkeys(named))
