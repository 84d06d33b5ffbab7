"""Where artifacts lie on this machine: between the URIs that are recorded and the paths components see.

Components get plain paths, since ``artifact.path`` of the kfp SDK is the URI itself unless it begins
with ``gs://``, ``s3://``, ``minio://`` or ``oci://``; what is recorded is a ``file:///`` URI in the one
spelling of the lineage. What lies in a bucket is recorded by its own URI; the SDK looks for it as if the
bucket were mounted (``mounted_path``), and ``staging`` sees to it that it is there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bridge.domain.uris import local_path, normalise_uri
from bridge.local.recording import StoredArtifact

BUCKET_PLACES = {"gs://": "/gcs/", "s3://": "/s3/", "minio://": "/minio/"}
"""Where the kfp SDK looks for artifacts of these schemes."""
_ITERATION = re.compile(r"\[(\d+)\]")


class UnreachableArtifactError(Exception):
    """A task's input is nowhere where the task could read it."""


class PipelineRootError(ValueError):
    """Artifacts cannot be written under this pipeline root."""


def to_uri(place: str) -> str:
    """The URI that is recorded for what a component calls ``uri``: a bare absolute path becomes
    ``file:///…``, everything else stays as it is."""
    return normalise_uri(place) if place.startswith("/") else place


def to_place(uri: str) -> str:
    """What a component gets to see for a URI: a path if it is on this machine, else the URI."""
    if not uri.startswith(("file:", "/")):
        return uri
    return _exact_path(uri) or uri


def mounted_path(uri: str) -> str:
    """``artifact.path`` of the kfp SDK for what a component gets as its URI."""
    for scheme, place in BUCKET_PLACES.items():
        if uri.startswith(scheme):
            return place + uri.removeprefix(scheme)
    return uri


def is_missing(uri: str) -> bool:
    """Whether a URI names a place on this machine where nothing is."""
    path = _exact_path(uri) if uri.startswith(("file:", "/")) else None
    return path is not None and not Path(path).exists()


def check_places(task: str, artifacts: Mapping[str, Sequence[StoredArtifact]]) -> None:
    """Raises ``UnreachableArtifactError`` for an input that only a container engine could show the task."""
    for name, found in artifacts.items():
        for artifact in found:
            if artifact.uri.startswith("oci://"):
                raise UnreachableArtifactError(
                    f"{task} needs {name} from the image {artifact.uri}: KFP mounts such an image beside the "
                    "component, which the local backend cannot. Unpack it, and import it from its folder."
                )


def remote_notes(
    artifacts: Mapping[str, Sequence[StoredArtifact]], brought: Collection[str] = ()
) -> list[str]:
    """A sentence for each input that lies elsewhere: KFP would bring it to the component, this does so only
    for the schemes in ``brought``."""
    return [
        f"Not brought here: the input {name} at {artifact.uri}; the component has to read it itself."
        for name, found in artifacts.items()
        for artifact in found
        if artifact.uri.startswith(tuple(BUCKET_PLACES)) and urlsplit(artifact.uri).scheme not in brought
    ]


def artifact_root(
    pipeline_root: str | None, data_dir: Path, pipeline: str, kfp_run_id: str, reached: Collection[str] = ()
) -> str:
    """Under which place a run's artifacts go: a path, or a URI of one of the schemes ``reached``.

    Raises ``PipelineRootError`` for any other root.
    """
    if not pipeline_root:
        return str(data_dir / "artifacts" / pipeline / kfp_run_id)
    if urlsplit(pipeline_root).scheme in reached:
        return f"{pipeline_root.rstrip('/')}/{pipeline}/{kfp_run_id}"
    path = local_path(pipeline_root) if pipeline_root.startswith(("file:", "/")) else None
    if path is None:
        raise PipelineRootError(
            f"The pipeline root {pipeline_root} is not on this machine: the local backend writes artifacts "
            "to files, and to an S3 server if it is started with --artifacts s3://bucket. Leave the root "
            "out, or give an absolute path."
        )
    return str(Path(path) / pipeline / kfp_run_id)


def task_place(root: str, task_path: str) -> str:
    """The place of a task's artifacts: one level per name and iteration, free of brackets."""
    parts = _ITERATION.sub(r".\1", task_path).split(".")
    return "/".join([root, *parts])


def _exact_path(uri: str) -> str | None:
    """The path of a file URI byte for byte: unlike in the lineage, a trailing slash is kept."""
    if uri.startswith("/"):
        return uri
    parts = urlsplit(uri)
    return unquote(parts.path) if parts.netloc in ("", "localhost") else None
