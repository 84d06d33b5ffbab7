"""One small pipeline per feature of the kfp SDK: ``python feature_pipelines.py FOLDER`` compiles them all.

What each gives stands in ``features.py``. Nothing here is imported by tests: kfp belongs into the processes
that compile and run components.
"""

import importlib
import inspect
import sys
import tempfile
import warnings
from pathlib import Path
from typing import List, NamedTuple, Optional

from kfp import compiler, dsl, kubernetes
from kfp.dsl import Artifact, Dataset, Input, InputPath, Model, Output, OutputPath

# The compiler copies the text of these functions, so they stand by themselves and read as users write them.
# ruff: noqa: B006, E741, PTH118, PTH123, SIM115, SIM117, PT018, UP006, UP014, UP035, UP045

IMAGE = "python:3.11"


# ---------------------------------------------------------------- components that several pipelines use
@dsl.component(base_image=IMAGE)
def kinds(i: int, f: float, b: bool, s: str, l: list, d: dict) -> str:
    return f"{i!r} {f!r} {b!r} {s!r} {l!r} {d!r}"


@dsl.component(base_image=IMAGE)
def add(a: int, b: int = 1) -> int:
    assert isinstance(a, int) and isinstance(b, int)
    return a + b


@dsl.component(base_image=IMAGE)
def say(word: str, suffix: str = "!") -> str:
    return word + suffix


@dsl.component(base_image=IMAGE)
def join(words: list) -> str:
    return ",".join(str(word) for word in words)


@dsl.component(base_image=IMAGE)
def write(text: str, thing: Output[Dataset]):
    with open(thing.path, "w") as file:
        file.write(text)
    thing.metadata["length"] = len(text)


@dsl.component(base_image=IMAGE)
def read(thing: Input[Dataset]) -> str:
    return open(thing.path).read()


@dsl.component(base_image=IMAGE)
def read_all(things: Input[List[Dataset]]) -> str:
    return ",".join(open(thing.path).read() for thing in things)


@dsl.component(base_image=IMAGE)
def fail(reason: str = "as it should") -> str:
    raise ValueError(reason)


@dsl.component(base_image=IMAGE)
def numbers(count: int) -> list:
    return list(range(count))


@dsl.component(base_image=IMAGE)
def status_of(status: dsl.PipelineTaskFinalStatus, note: str = "", log: str = "") -> str:
    told = f"{status.pipeline_task_name} {status.state} {status.error_code} {note}".strip()
    if log:
        with open(log, "a") as file:
            file.write(told + "\n")
    return told


@dsl.component(base_image=IMAGE)
def note(log: str, word: int) -> str:
    with open(log, "a") as file:
        file.write(f"{word}\n")
    return open(log).read().replace("\n", " ").strip()


# ------------------------------------------------------------------------------------------- parameters
@dsl.pipeline
def inner_kinds(
    i: int,
    f: float = 2.5,
    b: bool = True,
    s: str = "3",
    l: list = [1, 2.5],
    d: dict = {"n": 4},
) -> str:
    return kinds(i=i, f=f, b=b, s=s, l=l, d=d).output


@dsl.pipeline
def middle_kinds(i: int) -> str:
    return inner_kinds(i=i).output


@dsl.pipeline
def parameter_types(i: int = 1) -> str:
    return middle_kinds(i=i).output


@dsl.component(base_image=IMAGE)
def optionals(
    given: Optional[str] = None, number: Optional[int] = 7, flag: bool = True, items: Optional[list] = None
) -> str:
    return f"{given!r} {number!r} {flag!r} {items!r}"


@dsl.pipeline
def inner_optionals(given: Optional[str] = None, number: Optional[int] = None) -> str:
    return optionals(given=given, number=number).output


@dsl.pipeline
def optional_inputs(given: Optional[str] = None, items: Optional[list] = None) -> NamedTuple(
    "Told", [("plain", str), ("nested", str), ("passed", str)]
):
    plain = optionals()
    nested = inner_optionals(given=given)
    passed = inner_optionals(given="x", number=3)
    told = NamedTuple("Told", [("plain", str), ("nested", str), ("passed", str)])
    return told(plain.output, nested.output, passed.output)


@dsl.component(base_image=IMAGE)
def maybe(thing: Optional[Input[Dataset]] = None) -> str:
    return "none" if thing is None else open(thing.path).read()


@dsl.pipeline
def inner_maybe(thing: Optional[Dataset] = None) -> str:
    return maybe(thing=thing).output


@dsl.pipeline
def optional_artifacts() -> NamedTuple("Told", [("plain", str), ("nested", str), ("passed", str)]):
    told = NamedTuple("Told", [("plain", str), ("nested", str), ("passed", str)])
    made = write(text="there").outputs["thing"]
    return told(maybe().output, inner_maybe().output, inner_maybe(thing=made).output)


@dsl.component(base_image=IMAGE)
def several(n: int) -> NamedTuple(
    "Several", [("count", int), ("ratio", float), ("names", list), ("by", dict)]
):
    told = NamedTuple("Several", [("count", int), ("ratio", float), ("names", list), ("by", dict)])
    return told(n, n / 2, ["a", "b"], {"n": n})


@dsl.component(base_image=IMAGE)
def paths(n: OutputPath(int), data: OutputPath("Dataset")):
    with open(n, "w") as file:
        file.write("5")
    with open(data, "w") as file:
        file.write("by path")


@dsl.component(base_image=IMAGE)
def from_path(data: InputPath("Dataset")) -> str:
    return open(data).read()


@dsl.pipeline
def outputs_of_a_component() -> NamedTuple(
    "All", [("count", int), ("five", int), ("read", str), ("by", dict)]
):
    made = several(n=4)
    by_path = paths()
    told = NamedTuple("All", [("count", int), ("five", int), ("read", str), ("by", dict)])
    return told(
        made.outputs["count"],
        by_path.outputs["n"],
        from_path(data=by_path.outputs["data"]).output,
        made.outputs["by"],
    )


@dsl.component(base_image=IMAGE, packages_to_install=["pydantic>=2,<3"])
def validated(config: dict) -> int:
    import pydantic

    class Config(pydantic.BaseModel):
        depth: int

    return Config.model_validate(config).depth


@dsl.pipeline
def pydantic_model(config: dict = {"depth": "3"}) -> int:
    return validated(config=config).output


# ------------------------------------------------------------------------------------------- conditions
@dsl.component(base_image=IMAGE)
def flip(side: str) -> str:
    return side


@dsl.pipeline
def conditions(side: str = "edge", n: int = 5) -> str:
    coin = flip(side=side)
    with dsl.If(coin.output == "heads"):
        heads = say(word="heads")
    with dsl.Elif(coin.output == "tails"):
        tails = say(word="tails")
    with dsl.Else():
        neither = say(word="neither")
    with dsl.If(n > 3):
        with dsl.If(n > 4):
            big = say(word="very big")
        with dsl.Else():
            small = say(word="big")
        say(word=dsl.OneOf(big.output, small.output), suffix=" indeed")
    return say(word=dsl.OneOf(heads.output, tails.output, neither.output)).output


@dsl.pipeline
def one_of_artifacts(side: str = "tails") -> str:
    coin = flip(side=side)
    with dsl.If(coin.output == "heads"):
        heads = write(text="from heads")
    with dsl.Else():
        other = write(text="from the other")
    return read(thing=dsl.OneOf(heads.outputs["thing"], other.outputs["thing"])).output


@dsl.pipeline
def branch_outputs(side: str) -> NamedTuple("Branch", [("word", str), ("data", Dataset)]):
    with dsl.If(side == "heads"):
        heads = say(word="heads")
        heads_data = write(text="heads data")
    with dsl.Else():
        other = say(word="other")
        other_data = write(text="other data")
    told = NamedTuple("Branch", [("word", str), ("data", Dataset)])
    return told(
        dsl.OneOf(heads.output, other.output),
        dsl.OneOf(heads_data.outputs["thing"], other_data.outputs["thing"]),
    )


@dsl.pipeline
def nested_outputs_of_conditions(side: str = "heads") -> NamedTuple("Got", [("word", str), ("text", str)]):
    inner = branch_outputs(side=side)
    told = NamedTuple("Got", [("word", str), ("text", str)])
    return told(inner.outputs["word"], read(thing=inner.outputs["data"]).output)


# ------------------------------------------------------------------------------------------------ loops
@dsl.component(base_image=IMAGE)
def describe(item: dict) -> str:
    return f"{item['word']}={item['n']!r}"


@dsl.pipeline
def loops(count: int = 3) -> NamedTuple("Loops", [("given", str), ("fields", list), ("made", list)]):
    with dsl.ParallelFor([{"word": "a", "n": 1}, {"word": "b", "n": 2}]) as item:
        named = say(word=item.word)
    with dsl.ParallelFor([{"word": "a", "n": 1}], parallelism=1) as whole:
        described = describe(item=whole)
    with dsl.ParallelFor(numbers(count=count).output, parallelism=2) as n:
        added = add(a=n, b=10)
    told = NamedTuple("Loops", [("given", str), ("fields", list), ("made", list)])
    return told(
        join(words=dsl.Collected(named.output)).output,
        dsl.Collected(described.output),
        dsl.Collected(added.output),
    )


@dsl.component(base_image=IMAGE)
def flatten(rows: list) -> str:
    return "; ".join(",".join(str(cell) for cell in row) for row in rows)


@dsl.pipeline
def nested_loops() -> str:
    with dsl.ParallelFor([1, 2]) as outer:
        with dsl.ParallelFor([10, 20]) as inner:
            added = add(a=outer, b=inner)
    return flatten(rows=dsl.Collected(added.output)).output


@dsl.component(base_image=IMAGE)
def rows() -> List[dict]:
    return [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


@dsl.component(base_image=IMAGE)
def lists() -> List[List[int]]:
    return [[1, 2], [3]]


@dsl.pipeline
def loops_over_outputs() -> NamedTuple("Loops", [("fields", list), ("inner", list)]):
    with dsl.ParallelFor(rows().output) as row:
        by_field = add(a=row.a, b=row.b)
    with dsl.ParallelFor(lists().output) as numbers_of:
        with dsl.ParallelFor(numbers_of) as n:
            added = add(a=n, b=1)
    told = NamedTuple("Loops", [("fields", list), ("inner", list)])
    return told(dsl.Collected(by_field.output), dsl.Collected(added.output))


@dsl.pipeline
def sized(n: int) -> str:
    with dsl.If(n > 1):
        big = say(word="big")
    with dsl.Else():
        small = say(word="small")
    return dsl.OneOf(big.output, small.output)


@dsl.pipeline
def nested_pipelines_in_a_loop() -> str:
    with dsl.ParallelFor([1, 2]) as n:
        word = sized(n=n)
    return join(words=dsl.Collected(word.output)).output


@dsl.pipeline
def condition_in_a_loop() -> str:
    with dsl.ParallelFor([1, 2, 3]) as n:
        with dsl.If(n > 1):
            kept = add(a=n, b=0)
    return join(words=dsl.Collected(kept.output)).output


@dsl.pipeline
def collected_artifacts() -> str:
    with dsl.ParallelFor(["x", "y", "z"]) as word:
        made = write(text=word)
    return read_all(things=dsl.Collected(made.outputs["thing"])).output


@dsl.pipeline
def make_several() -> List[Dataset]:
    with dsl.ParallelFor(["p", "q"]) as word:
        made = write(text=word)
    return dsl.Collected(made.outputs["thing"])


@dsl.pipeline
def loop_over_artifacts() -> str:
    with dsl.ParallelFor(make_several().output) as thing:
        text = read(thing=thing)
    return join(words=dsl.Collected(text.output)).output


@dsl.pipeline
def after_a_loop(log: str) -> str:
    with dsl.ParallelFor([1, 2, 3], parallelism=1) as n:
        noted = note(log=log, word=n)
    return note(log=log, word=9).after(noted).output


# ------------------------------------------------------------------------------------ failure and cleanup
@dsl.pipeline
def exit_handler(log: str):
    end = status_of(note="noted", log=log)
    with dsl.ExitHandler(end):
        fail()


@dsl.pipeline
def inner_exit_handler(log: str):
    with dsl.ExitHandler(status_of(note="inner", log=log)):
        say(word="fine")


@dsl.pipeline
def exit_handlers_nested_and_several(log: str):
    with dsl.ExitHandler(status_of(note="first", log=log)):
        say(word="fine")
    with dsl.ExitHandler(status_of(note="second", log=log)):
        fail(reason="second body")
    inner_exit_handler(log=log)


@dsl.pipeline
def loop_in_an_exit_handler(log: str):
    with dsl.ExitHandler(status_of(note="looped", log=log)):
        with dsl.ParallelFor([1, 2]) as n:
            add(a=n)


@dsl.pipeline
def failing_exit_task():
    with dsl.ExitHandler(fail(reason="in the handler")):
        say(word="fine")


@dsl.pipeline
def after_an_exit_handler(log: str):
    with dsl.ExitHandler(status_of(note="ended", log=log)) as handled:
        note(log=log, word=1)
    note(log=log, word=2).after(handled)


@dsl.pipeline
def ignore_upstream_failure() -> str:
    failed = fail()
    return say(word="cleaned", suffix=failed.output).ignore_upstream_failure().output


@dsl.component(base_image=IMAGE)
def flaky(counter: str, needed: int) -> int:
    with open(counter, "a") as file:
        file.write("x")
    tries = len(open(counter).read())
    if tries < needed:
        raise RuntimeError(f"try {tries}")
    return tries


@dsl.pipeline
def retries(counter: str) -> int:
    return flaky(counter=counter, needed=3).set_retry(3, "0s", 2.0, "60s").output


@dsl.pipeline
def inner_flaky(counter: str) -> int:
    return flaky(counter=counter, needed=2).output


@dsl.pipeline
def retries_of_a_nested_pipeline(counter: str) -> int:
    return inner_flaky(counter=counter).set_retry(1, "0s").output


# --------------------------------------------------------------------------------------------- artifacts
@dsl.component(base_image=IMAGE)
def made_uri(place: str) -> str:
    return "file://" + place


@dsl.component(base_image=IMAGE)
def metadata_of(thing: Input[Artifact]) -> dict:
    return dict(thing.metadata)


@dsl.pipeline
def importers(place: str, depth: int = 3) -> NamedTuple("Imported", [("text", str), ("metadata", dict)]):
    dynamic = dsl.importer(artifact_uri=made_uri(place=place).output, artifact_class=Dataset, reimport=True)
    described = dsl.importer(
        artifact_uri="file:///nowhere",
        artifact_class=Model,
        metadata={"depth": depth, "nested": {"kind": "tree"}},
    )
    told = NamedTuple("Imported", [("text", str), ("metadata", dict)])
    return told(read(thing=dynamic.output).output, metadata_of(thing=described.output).output)


@dsl.component(base_image=IMAGE)
def elsewhere(out: Output[Dataset]):
    import os
    import tempfile

    path = os.path.join(tempfile.mkdtemp(), "mine.txt")
    with open(path, "w") as file:
        file.write("from a custom path")
    out.set_path(path)


@dsl.pipeline
def custom_artifact_path() -> str:
    return read(thing=elsewhere().outputs["out"]).output


@dsl.component(base_image=IMAGE)
def pythonic(text: str) -> Model:
    model = Model(uri=dsl.get_uri(), metadata={"kind": "returned"})
    with open(model.path, "w") as file:
        file.write(text)
    return model


@dsl.component(base_image=IMAGE)
def read_model(model: Model) -> str:
    return open(model.path).read() + " " + model.metadata["kind"]


@dsl.pipeline
def pythonic_artifacts() -> str:
    return read_model(model=pythonic(text="weights").output).output


@dsl.component(base_image=IMAGE)
def measured(metrics: Output[dsl.Metrics], curves: Output[dsl.ClassificationMetrics], page: Output[dsl.HTML]):
    metrics.log_metric("auc", 0.75)
    curves.log_confusion_matrix(["late", "on time"], [[3, 1], [2, 4]])
    with open(page.path, "w") as file:
        file.write("<p>fine</p>")


@dsl.component(base_image=IMAGE)
def auc_of(metrics: Input[dsl.Metrics]) -> float:
    return metrics.metadata["auc"]


@dsl.pipeline
def metrics_and_pages() -> float:
    return auc_of(metrics=measured().outputs["metrics"]).output


_ASSET = Path(tempfile.mkdtemp()) / "asset"
_ASSET.mkdir()
(_ASSET / "words.txt").write_text("embedded words")


@dsl.component(base_image=IMAGE, embedded_artifact_path=str(_ASSET))
def reads_asset(asset: dsl.EmbeddedInput[Dataset]) -> str:
    import os

    return open(os.path.join(asset.path, "words.txt")).read()


@dsl.pipeline
def embedded_artifact() -> str:
    return reads_asset().output


@dsl.component(base_image=IMAGE)
def put_into(workspace: str, text: str) -> str:
    import os

    with open(os.path.join(workspace, "shared.txt"), "w") as file:
        file.write(text)
    return "put"


@dsl.component(base_image=IMAGE)
def get_from(workspace: str) -> str:
    import os

    return open(os.path.join(workspace, "shared.txt")).read()


@dsl.pipeline(pipeline_config=dsl.PipelineConfig(workspace=dsl.WorkspaceConfig(size="1Gi")))
def workspace() -> str:
    put = put_into(workspace=dsl.WORKSPACE_PATH_PLACEHOLDER, text="through the workspace")
    return get_from(workspace=dsl.WORKSPACE_PATH_PLACEHOLDER).after(put).output


# ------------------------------------------------------------------------------------------ placeholders
@dsl.component(base_image=IMAGE)
def names(job: str, resource: str, uid: str, task: str, task_id: str, created: str, scheduled: str) -> dict:
    import datetime
    import uuid

    uuid.UUID(uid)
    datetime.datetime.fromisoformat(created.replace("Z", "+00:00"))
    datetime.datetime.fromisoformat(scheduled.replace("Z", "+00:00"))
    return {"task": task, "all": all([job, resource, task_id])}


@dsl.pipeline
def placeholders_of_names() -> dict:
    return names(
        job=dsl.PIPELINE_JOB_NAME_PLACEHOLDER,
        resource=dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER,
        uid=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
        task=dsl.PIPELINE_TASK_NAME_PLACEHOLDER,
        task_id=dsl.PIPELINE_TASK_ID_PLACEHOLDER,
        created=dsl.PIPELINE_JOB_CREATE_TIME_UTC_PLACEHOLDER,
        scheduled=dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER,
    ).output


@dsl.pipeline
def text_with_values(n: int = 3, items: list = ["a", 1]) -> str:
    return say(word=f"n is {n}, items are {items}", suffix=f" {add(a=n, b=1).output}").output


@dsl.container_component
def shell(
    text: str,
    told: dsl.OutputPath(str),
    data: Output[Dataset],
    source: Input[Dataset],
    extra: Optional[str] = None,
):
    script = 'out="$1"; data="$2"; src="$3"; shift 3; mkdir -p "$(dirname "$out")" "$(dirname "$data")"; ' + (
        'printf "%s|" "$@" > "$out"; cat "$src" >> "$out"; cp "$src" "$data"'
    )
    return dsl.ContainerSpec(
        image="alpine",
        command=["sh", "-c", script, "sh", told, data.path, source.path],
        args=[
            dsl.ConcatPlaceholder(["--text=", text, "!"]),
            dsl.IfPresentPlaceholder(input_name="extra", then=["--extra", extra], else_=["--none"]),
        ],
    )


@dsl.pipeline
def container_component(text: str = 'it\'s "quoted"') -> NamedTuple(
    "Shells", [("without", str), ("given", str), ("copy", str)]
):
    source = write(text="the source").outputs["thing"]
    without = shell(text=text, source=source)
    given = shell(text=text, source=source, extra="more")
    told = NamedTuple("Shells", [("without", str), ("given", str), ("copy", str)])
    copied = read(thing=given.outputs["data"]).output
    return told(without.outputs["told"], given.outputs["told"], copied)


@dsl.component(base_image=IMAGE)
def variable(name: str) -> str:
    import os

    return os.environ.get(name, "none")


@dsl.pipeline
def environment_of_a_task() -> str:
    return variable(name="LEVEL").set_env_variable("LEVEL", "high").output


@dsl.pipeline
def machine_of_a_task(
    cpu: str = "500m", memory: str = "1Gi", image: str = "python:3.11", gpus: str = "1"
) -> str:
    task = say(word="placed")
    task.set_cpu_limit(cpu).set_cpu_request("100m").set_memory_limit(memory).set_memory_request("64Mi")
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)
    task.set_container_image(image).set_display_name("Placed")
    return task.output


@dsl.pipeline
def debug_pause() -> str:
    return say(word="not paused").set_debug_pause().output


@dsl.component(
    base_image=IMAGE,
    task_config_passthroughs=[
        dsl.TaskConfigPassthrough(field=dsl.TaskConfigField.RESOURCES, apply_to_task=True),
        dsl.TaskConfigField.ENV,
    ],
)
def configured(config: dsl.TaskConfig) -> dict:
    return {"resources": config.resources, "env": config.env}


@dsl.pipeline
def task_config() -> dict:
    return configured().set_cpu_limit("2").set_env_variable("A", "b").output


@dsl.pipeline
def caching(log: str) -> NamedTuple("Cached", [("cached", str), ("fresh", str), ("keyed", str)]):
    cached = note(log=log, word=1).set_caching_options(True)
    fresh = note(log=log, word=2).after(cached).set_caching_options(False)
    keyed = note(log=log, word=3).after(fresh).set_caching_options(True, cache_key="the key")
    told = NamedTuple("Cached", [("cached", str), ("fresh", str), ("keyed", str)])
    return told(cached.output, fresh.output, keyed.output)


# ------------------------------------------------------------------------------------------- kubernetes
@dsl.component(base_image=IMAGE)
def secret_name() -> str:
    return "tok"


@dsl.component(base_image=IMAGE)
def surroundings(file: str = "/etc/tok/password") -> dict:
    import os

    with open("/scratch/in", "w") as scratch, open("/eph/in", "w") as ephemeral:
        scratch.write("x")
        ephemeral.write("y")
    return {
        "secret": os.environ["PASSWORD"],
        "optional": os.environ.get("OPTIONAL", "none"),
        "config": os.environ["LEVEL"],
        "file": open(file).read(),
        "level": open("/etc/conf/level").read(),
        "pod": bool(os.environ["POD"]),
        "label": os.environ["TEAM"],
    }


@dsl.pipeline
def kubernetes_secrets_and_volumes(optional: Optional[str] = None) -> dict:
    task = surroundings()
    kubernetes.use_secret_as_env(task, secret_name().output, {"password": "PASSWORD"})
    kubernetes.use_secret_as_env(task, optional, {"password": "OPTIONAL"}, optional=True)
    kubernetes.use_config_map_as_env(task, "conf", {"level": "LEVEL"})
    kubernetes.use_secret_as_volume(task, "tok", "/etc/tok")
    kubernetes.use_config_map_as_volume(task, "conf", "/etc/conf")
    kubernetes.empty_dir_mount(task, "scratch", "/scratch", size_limit="1Gi")
    kubernetes.add_ephemeral_volume(task, "eph", "/eph", ["ReadWriteOnce"], "1Gi")
    kubernetes.use_field_path_as_env(task, "POD", "metadata.name")
    kubernetes.use_field_path_as_env(task, "TEAM", "metadata.labels['team']")
    kubernetes.add_pod_label(task, "team", "a")
    kubernetes.add_pod_annotation(task, "note", "b")
    return task.output


@dsl.component(base_image=IMAGE)
def put_on_volume(text: str):
    with open("/data/in", "w") as file:
        file.write(text)


@dsl.component(base_image=IMAGE)
def get_from_volume(word: str) -> str:
    return open("/data/in").read() + word


@dsl.pipeline
def kubernetes_claims() -> str:
    claim = kubernetes.CreatePVC(
        pvc_name_suffix="-x", access_modes=["ReadWriteOnce"], size="1Gi", storage_class_name="standard"
    )
    put = put_on_volume(text="kept")
    kubernetes.mount_pvc(put, claim.outputs["name"], "/data")
    with dsl.ParallelFor(["!", "?"]) as word:
        got = get_from_volume(word=word).after(put)
        kubernetes.mount_pvc(got, claim.outputs["name"], "/data")
    joined = join(words=dsl.Collected(got.output))
    kubernetes.DeletePVC(pvc_name=claim.outputs["name"]).after(joined)
    return joined.output


@dsl.pipeline
def kubernetes_placement(
    selector: dict = {"disk": "ssd"}, toleration: dict = {"key": "gpu", "operator": "Exists"}
) -> str:
    placed = say(word="placed")
    kubernetes.add_node_selector_json(placed, selector)
    kubernetes.add_toleration_json(placed, toleration)
    kubernetes.add_node_affinity(placed, [{"key": "disk", "operator": "In", "values": ["ssd"]}])
    kubernetes.set_image_pull_policy(placed, "Always")
    kubernetes.set_image_pull_secrets(placed, ["registry"])
    kubernetes.set_security_context(placed, run_as_user=1000, run_as_non_root=True)
    fixed = say(word=placed.output)
    kubernetes.add_node_selector(fixed, "disk", "hdd")
    kubernetes.add_toleration(fixed, key="k", operator="Equal", value="v", effect="NoSchedule")
    kubernetes.add_node_affinity_json(
        fixed, {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
    )
    return fixed.output


@dsl.component(base_image=IMAGE)
def slow():
    import time

    time.sleep(60)


@dsl.pipeline
def kubernetes_timeout():
    kubernetes.set_timeout(slow(), 1)


def pipelines() -> dict:
    """The pipelines of this file by name, those that others nest included."""
    graph = importlib.import_module("kfp.dsl.graph_component").GraphComponent
    module = sys.modules[__name__]
    return {item.name: item for _, item in inspect.getmembers(module) if isinstance(item, graph)}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for name, pipeline in pipelines().items():
        compiler.Compiler().compile(pipeline, str(Path(sys.argv[1]) / f"{name}.yaml"))
