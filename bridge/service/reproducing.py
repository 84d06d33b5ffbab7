"""Grades how exactly a run can be made again, and makes it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from uuid import UUID

from sqlmodel import Session

from bridge.client.digests import MayRead, NotWalked, directory_digest, file_digest, files_under
from bridge.client.models import InputModel, OriginModel, SubmitRequest
from bridge.client.reproduction import ReasonModel, ReproduceRequest, ReproducibilityModel
from bridge.domain.explain import ExplainedInput
from bridge.domain.lineage import Run, Submission
from bridge.domain.reproducibility import (
    Effect,
    InputNow,
    Reason,
    grade,
    image_reasons,
    input_reasons,
    package_reasons,
)
from bridge.domain.uris import local_path
from bridge.lineage import runs, specs, submissions
from bridge.lineage.datasets import inputs_of
from bridge.lineage.records import StoredSpec
from bridge.lineage.versions import newer_versions
from bridge.service.context import Context
from bridge.service.threads import TooManyHang
from bridge.spec.load import Pipeline
from bridge.spec.parts import images_by_component, packages_by_component

# What is read to tell whether data is the same: a little for whoever only looks at a run.
QUICK_BYTES = 64 * 1024 * 1024
THOROUGH_BYTES = 8 * 1024**3
# At the least that a disk reads in a second, and a directory of many small files takes longer than its bytes.
_BYTES_PER_SECOND = 16 * 1024 * 1024
_MOST_FILES = 100_000
REPRODUCES_LABEL = "kfbridge/reproduces"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is stored of how a run was made; ``newer`` is what anybody told of that was written since, by
    dataset and the version that the run read."""

    run: Run
    submission: Submission | None
    spec: StoredSpec | None
    inputs: Sequence[ExplainedInput]
    newer: dict[tuple[UUID, str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """A recipe, what is the matter with it, and its inputs as they are now."""

    recipe: Recipe
    reasons: Sequence[Reason]
    inputs: Sequence[InputNow]

    @property
    def model(self) -> ReproducibilityModel:
        """The grade as the API shows it."""
        return ReproducibilityModel(
            grade=grade(self.reasons).value,
            reasons=[
                ReasonModel(
                    kind=one.kind,
                    effect=one.effect.value,
                    name=one.name,
                    detail=one.detail,
                )
                for one in self.reasons
            ],
        )


def read_recipe(session: Session, run_id: UUID) -> Recipe | None:
    """How the run was made, as far as it is stored; ``None`` if there is no such run."""
    run = runs.get_run(session, run_id)
    if run is None:
        return None
    key = run.submission_key
    return Recipe(
        run=run,
        submission=submissions.find_submission(session, key, lock=False) if key else None,
        spec=specs.get_spec(session, run.project, run.pipeline.digest),
        inputs=inputs_of(session, run_id),
        newer=newer_versions(session, run_id),
    )


async def graded(context: Context, recipe: Recipe, pipeline: Pipeline | None, *, most_bytes: int) -> Graded:
    """The recipe with all that keeps it from being exact; at most ``most_bytes`` of data are read."""
    reasons = []
    if pipeline is None:
        told = "the compiled pipeline is not stored here, or cannot be read any more"
        reasons.append(Reason(kind="spec", effect=Effect.GONE, name=recipe.run.pipeline.name, detail=told))
    else:
        reasons += image_reasons(images_by_component(pipeline))
        reasons += package_reasons(packages_by_component(pipeline))
    if recipe.run.backend not in context.backends:
        told = f"this bridge has no backend {recipe.run.backend} any more"
        reasons.append(Reason(kind="backend", effect=Effect.GONE, name=recipe.run.backend, detail=told))
    looked = await _look_at_all(context, recipe, most_bytes)
    return Graded(recipe=recipe, reasons=[*reasons, *input_reasons(looked)], inputs=looked)


async def _look_at_all(context: Context, recipe: Recipe, most_bytes: int) -> list[InputNow]:
    left = most_bytes
    may_read = partial(context.settings.may_pass_on, project=recipe.run.project)
    found = []
    for item in recipe.inputs:
        plain = InputNow(
            name=item.name,
            uri=item.uri,
            version=item.version,
            newest=recipe.newer.get((item.dataset_id, item.version or "")),
        )
        seconds = context.settings.content_read_seconds + left / _BYTES_PER_SECOND
        try:
            now, read = await context.stores.threads.ask(
                partial(_look, may_read, plain, item.version_kind, left), seconds
            )
        except TimeoutError:
            now, read = replace(plain, unseen=f"it was not read within {seconds:.0f} s"), 0
        except TooManyHang as error:
            now, read = replace(plain, unseen=f"it was not looked at: {error}"), 0
        left -= read
        found.append(now)
    return found


def _look(may_read: MayRead, item: InputNow, kind: str | None, most_bytes: int) -> tuple[InputNow, int]:
    """The input as it is now, and how many bytes were read."""
    place = local_path(item.uri)
    if place is None:
        return replace(item, unseen="it is not on this machine"), 0
    path = Path(place)
    if not may_read(path):
        return replace(item, unseen="the setting content_roots does not allow it"), 0
    try:
        if not path.exists():
            return replace(item, gone=True), 0
        return _measure(item, path, kind, most_bytes, may_read)
    except NotWalked as error:
        return replace(item, unseen=str(error)), 0
    except OSError as error:
        return replace(item, unseen=f"it cannot be read ({error.strerror or error})"), 0


def _measure(
    item: InputNow, path: Path, kind: str | None, most_bytes: int, may_read: MayRead
) -> tuple[InputNow, int]:
    if kind not in ("sha256", "manifest-sha256"):
        return replace(item, unseen=f"a version of the kind {kind} cannot be measured"), 0
    files = None if path.is_file() else files_under(path, most=_MOST_FILES, may_read=may_read)
    size = sum((path / one).stat().st_size for one in files) if files is not None else path.stat().st_size
    if size > most_bytes:
        return replace(item, unseen=f"it has {size:,} bytes, more than are read for this"), 0
    digest, read = file_digest(path) if files is None else directory_digest(path, files)
    return replace(item, measured=digest), read


def request_of(found: Graded, pipeline: Pipeline, asked: ReproduceRequest) -> SubmitRequest:
    """The submission that makes the run again. Data is named in the version that was
    measured now, else in that which the run read: nobody knows whether what was told since is there."""
    run, submission = found.recipe.run, found.recipe.submission
    now = {(item.name, item.uri): item for item in found.inputs}
    return SubmitRequest(
        backend=run.backend,
        project=run.project,
        namespace=run.namespace,
        spec=pipeline.text,
        arguments=dict(run.arguments),
        inputs=[_input(item, now) for item in found.recipe.inputs if item.declared],
        experiment=run.experiment,
        display_name=asked.display_name or f"{run.display_name} (again)"[:255],
        service_account=submission.service_account if submission else None,
        pipeline_root=submission.pipeline_root if submission else None,
        caching=asked.caching,
        labels={**dict(list(run.labels.items())[:60]), REPRODUCES_LABEL: str(run.run_id)},
        gate=submission.gate if submission else None,
        origin=OriginModel(scheduler="kfbridge", team=run.origin.team),
    )


def _input(item: ExplainedInput, now: dict[tuple[str, str], InputNow]) -> InputModel:
    seen = now[item.name, item.uri]
    version = seen.measured if seen.measured is not None else item.version
    same = version == item.version
    return InputModel(
        name=item.name,
        uri=item.uri,
        version=version,
        version_kind=item.version_kind,
        rows=item.rows if same else None,
        bytes=item.bytes if same else None,
    )
