"""The bridge service: its API, its workers and its first pages."""
