"""The runner for containers, with a real engine."""
