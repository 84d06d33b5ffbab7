"""What the bridge asks Kubernetes itself: which Workflows changed, and why their pods failed or wait."""
