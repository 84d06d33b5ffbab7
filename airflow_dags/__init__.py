"""DAGs of the flight demo: examples, documentation snippets and system tests at once."""
