"""Pipelines written with the kfp SDK; ``compiled/*.yaml`` beside them is the only hand-off to the rest."""
