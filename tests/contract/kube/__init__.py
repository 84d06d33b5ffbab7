"""``bridge.kube`` through the official client, against a Kubernetes API that speaks HTTP."""
