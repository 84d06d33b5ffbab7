"""Compiled pipelines: safe loading with limits, a typed model of the IR, checks of arguments, the digest."""
