"""Who asks the service, and what of it they may see and do: docs/access.md."""
