"""Checks of the Kubernetes cluster behind a backend, where it is to be asked."""

from __future__ import annotations

from collections.abc import Iterator

from bridge.kube.errors import KubeConfigError, KubeError, KubeUnauthorized
from bridge.kube.rights import EVIDENCE_RIGHTS, WORKFLOW_RIGHTS, missing_rights
from bridge.service.cluster import Cluster
from bridge.service.doctor.findings import Finding, error, ok, warning


def check_cluster(name: str, cluster: Cluster) -> Iterator[Finding]:
    """Every finding about the rights of the backend's watch. Blocks."""
    subject = f"backend {name}"
    try:
        for namespace in cluster.namespaces:
            yield _check_rights(subject, cluster, namespace)
    except KubeConfigError as wrong:
        to_do = (
            "correct kubeconfig and context, run it in a pod with a service account, or switch the watch off."
        )
        yield error("kubernetes.reachable", subject, str(wrong), to_do)
    except KubeUnauthorized as refused:
        to_do = "renew the kubeconfig's credentials, or the pod's service account."
        yield error("kubernetes.reachable", subject, str(refused), to_do)
    except KubeError as trouble:
        to_do = "see that the Kubernetes API can be reached from here (NetworkPolicy, proxy)."
        yield error("kubernetes.reachable", subject, str(trouble), to_do)
    finally:
        cluster.api.close()


def _check_rights(subject: str, cluster: Cluster, namespace: str | None) -> Finding:
    where = f"namespace {namespace}" if namespace else "the whole cluster"
    watch = missing_rights(cluster.api, namespace, WORKFLOW_RIGHTS)
    evidence = missing_rights(cluster.api, namespace, EVIDENCE_RIGHTS)
    if not watch and not evidence:
        return ok("kubernetes.rights", subject, f"{where}: workflows, pods, logs and events can be read")
    lacking = ", ".join(str(right) for right in (*watch, *evidence))
    kind = "Role" if namespace else "ClusterRole"
    to_do = f"bind the {kind} of docs/kubernetes-watch.md to the bridge's account."
    make = error if watch else warning
    return make("kubernetes.rights", subject, f"{where}: not allowed are {lacking}", to_do)
