"""What each pipeline of ``feature_pipelines.py`` gives, worked out by hand from its source.

No kfp here: the tests of the local backend read it, and the script that runs the same pipelines with
``kfp.local`` (``tests/bench/kfp_local_features.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).with_name("feature_pipelines.py")
LOG = "log.txt"
IMPORTED = "imported.txt"


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A pipeline of one feature. ``FOLDER`` in an argument stands for a folder of the run's own.

    ``outputs`` are the pipeline's. ``failed`` holds the paths of the tasks that fail by themselves: with
    any, the run fails. ``skipped`` holds those that do not run. ``logged`` is the set of lines that the
    components write to a file, ``attempts`` how often a task was started.
    """

    pipeline: str
    outputs: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()
    skipped: frozenset[str] = frozenset()
    logged: frozenset[str] = frozenset()
    attempts: Mapping[str, int] = field(default_factory=dict)

    def arguments_in(self, folder: Path) -> dict[str, Any]:
        """The arguments for a run whose components write below a folder."""
        return {
            name: value.replace("FOLDER", str(folder)) if isinstance(value, str) else value
            for name, value in self.arguments.items()
        }


_TO_LOG = {"log": f"FOLDER/{LOG}"}

FEATURES = [
    Feature(
        pipeline="parameter-types",
        outputs={"Output": "1 2.5 True '3' [1, 2.5] {'n': 4}"},
    ),
    Feature(
        pipeline="optional-inputs",
        outputs={"plain": "None 7 True None", "nested": "None 7 True None", "passed": "'x' 3 True None"},
    ),
    Feature(
        pipeline="optional-artifacts",
        outputs={"plain": "none", "nested": "none", "passed": "there"},
    ),
    Feature(
        pipeline="outputs-of-a-component",
        outputs={"count": 4, "five": 5, "read": "by path", "by": {"n": 4}},
    ),
    Feature(pipeline="pydantic-model", outputs={"Output": 3}),
    Feature(
        pipeline="conditions",
        outputs={"Output": "neither!!"},
        skipped=frozenset(
            {
                "condition-branches-1.condition-2",
                "condition-branches-1.condition-3",
                "condition-5.condition-branches-6.condition-8",
            }
        ),
    ),
    Feature(
        pipeline="one-of-artifacts",
        outputs={"Output": "from the other"},
        skipped=frozenset({"condition-branches-1.condition-2"}),
    ),
    Feature(
        pipeline="nested-outputs-of-conditions",
        outputs={"word": "heads!", "text": "heads data"},
        skipped=frozenset({"branch-outputs.condition-branches-1.condition-3"}),
    ),
    Feature(
        pipeline="loops",
        outputs={"given": "a!,b!", "fields": ["a=1"], "made": [10, 11, 12]},
    ),
    Feature(pipeline="nested-loops", outputs={"Output": "11,21; 12,22"}),
    Feature(pipeline="loops-over-outputs", outputs={"fields": [3, 7], "inner": [[2, 3], [4]]}),
    Feature(
        pipeline="nested-pipelines-in-a-loop",
        outputs={"Output": "small!,big!"},
        skipped=frozenset(
            {
                "for-loop-2[0].sized.condition-branches-1.condition-2",
                "for-loop-2[1].sized.condition-branches-1.condition-3",
            }
        ),
    ),
    Feature(
        pipeline="condition-in-a-loop",
        outputs={"Output": "2,3"},
        skipped=frozenset({"for-loop-2[0].condition-3"}),
    ),
    Feature(pipeline="collected-artifacts", outputs={"Output": "x,y,z"}),
    Feature(pipeline="loop-over-artifacts", outputs={"Output": "p,q"}),
    Feature(pipeline="after-a-loop", outputs={"Output": "1 2 3 9"}, arguments=_TO_LOG),
    Feature(
        pipeline="exit-handler",
        arguments=_TO_LOG,
        failed=frozenset({"exit-handler-1.fail"}),
        logged=frozenset({"exit-handler-1 FAILED 9 noted"}),
    ),
    Feature(
        pipeline="exit-handlers-nested-and-several",
        arguments=_TO_LOG,
        failed=frozenset({"exit-handler-2.fail"}),
        logged=frozenset(
            {
                "exit-handler-1 COMPLETE None first",
                "exit-handler-2 FAILED 9 second",
                "exit-handler-1 COMPLETE None inner",
            }
        ),
    ),
    Feature(
        pipeline="loop-in-an-exit-handler",
        arguments=_TO_LOG,
        logged=frozenset({"exit-handler-1 COMPLETE None looped"}),
    ),
    Feature(pipeline="failing-exit-task", failed=frozenset({"fail"})),
    Feature(
        pipeline="after-an-exit-handler",
        arguments=_TO_LOG,
        logged=frozenset({"1", "exit-handler-1 COMPLETE None ended", "2"}),
    ),
    Feature(
        pipeline="ignore-upstream-failure",
        outputs={"Output": "cleaned!"},
        failed=frozenset({"fail"}),
    ),
    Feature(
        pipeline="retries",
        outputs={"Output": 3},
        arguments={"counter": f"FOLDER/{LOG}"},
        attempts={"flaky": 3},
    ),
    Feature(
        pipeline="retries-of-a-nested-pipeline",
        outputs={"Output": 2},
        arguments={"counter": f"FOLDER/{LOG}"},
        attempts={"inner-flaky.flaky": 2},
    ),
    Feature(
        pipeline="importers",
        outputs={"text": "imported text", "metadata": {"depth": 3, "nested": {"kind": "tree"}}},
        arguments={"place": f"FOLDER/{IMPORTED}"},
    ),
    Feature(pipeline="custom-artifact-path", outputs={"Output": "from a custom path"}),
    Feature(pipeline="pythonic-artifacts", outputs={"Output": "weights returned"}),
    Feature(pipeline="metrics-and-pages", outputs={"Output": 0.75}),
    Feature(pipeline="embedded-artifact", outputs={"Output": "embedded words"}),
    Feature(pipeline="workspace", outputs={"Output": "through the workspace"}),
    Feature(pipeline="placeholders-of-names", outputs={"Output": {"task": "names", "all": True}}),
    Feature(pipeline="text-with-values", outputs={"Output": 'n is 3, items are ["a",1] 4'}),
    Feature(
        pipeline="container-component",
        outputs={
            "without": '--text=it\'s "quoted"!|--none|the source',
            "given": '--text=it\'s "quoted"!|--extra|more|the source',
            "copy": "the source",
        },
    ),
    Feature(pipeline="environment-of-a-task", outputs={"Output": "high"}),
    Feature(pipeline="machine-of-a-task", outputs={"Output": "placed!"}),
    Feature(pipeline="debug-pause", outputs={"Output": "not paused!"}),
    Feature(
        pipeline="task-config",
        outputs={"Output": {"resources": {"limits": {"cpu": "2"}}, "env": [{"name": "A", "value": "b"}]}},
    ),
    Feature(
        pipeline="kubernetes-secrets-and-volumes",
        outputs={
            "Output": {
                "secret": "s3cret",
                "optional": "none",
                "config": "high",
                "file": "s3cret",
                "level": "high",
                "pod": True,
                "label": "a",
            }
        },
    ),
    Feature(pipeline="kubernetes-claims", outputs={"Output": "kept!,kept?"}),
    Feature(pipeline="kubernetes-placement", outputs={"Output": "placed!!"}),
    Feature(pipeline="kubernetes-timeout", failed=frozenset({"slow"})),
    Feature(
        pipeline="caching",
        outputs={"cached": "1", "fresh": "1 2", "keyed": "1 2 3"},
        arguments=_TO_LOG,
    ),
]


def prepare_folder(folder: Path) -> Path:
    """Puts into a folder what the pipelines expect to find there; returns its folder of secrets."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / IMPORTED).write_text("imported text")
    for name, key, value in (("tok", "password", "s3cret"), ("conf", "level", "high")):
        place = folder / "secrets" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / key).write_text(value)
    return folder / "secrets"
