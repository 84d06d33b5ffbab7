"""Importers, which may find what an earlier run imported."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input


@dsl.component(base_image="python:3.11")
def look(thing: Input[Artifact]) -> str:
    """Says what an artifact is."""
    return f"{thing.uri} {sorted(thing.metadata.items())}"


@dsl.pipeline(name="imports")
def imports(uri: str, label: str = "a"):
    """One importer that takes what is there, one that always makes an artifact of its own."""
    kept = dsl.importer(artifact_uri=uri, artifact_class=Dataset, metadata={"label": label}, reimport=False)
    look(thing=kept.output)
    dsl.importer(artifact_uri=uri, artifact_class=Dataset, metadata={"made": "anew"}, reimport=True)
