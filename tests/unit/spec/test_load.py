"""Loading pipelines: what the facade shows, and every way in which a document is no pipeline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.spec.errors import SpecError
from bridge.spec.load import load_pipeline
from bridge.spec.model import MISSING, ParameterType
from tests.support.corpus import corpus_dir, corpus_file, corpus_files
from tests.support.handmade import (
    component,
    constant,
    document,
    from_input,
    from_task,
    parameters,
    selected,
    sh,
    task,
)


def sound() -> dict[str, Any]:
    """A document with nothing wrong."""
    made = document(
        {
            "first": task("first", "work", parameters={"n": from_input("n")}),
            "second": task("second", "work", parameters={"n": from_task("first")}),
        },
        {
            "work": component(
                inputs=parameters(n="int"), outputs=parameters(Output="int"), executorLabel="work"
            )
        },
        {"work": sh("true")},
        inputs=parameters(n="int=3", words="list", note="str?"),
        outputs={"Output": selected(("second", "Output"))},
        output_types=parameters(Output="int"),
    )
    return json.loads(json.dumps(made))


def put(made: dict[str, Any], path: str, value: Any) -> None:
    """Sets (or with ``MISSING`` removes) what lies at a path."""
    *steps, last = path.split("/")
    for step in steps:
        made = made[step]
    if value is MISSING:
        del made[last]
    else:
        made[last] = value


TASKS = "root/dag/tasks"


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("pipelineInfo/name", MISSING, "/pipelineInfo: name is missing."),
        ("pipelineInfo", MISSING, "/pipelineInfo: name is missing."),
        ("pipelineInfo/name", "Not A Name", "the name 'Not A Name' must be at most 128 lower-case letters"),
        ("pipelineInfo/name", 5, "/pipelineInfo/name: a text is expected here, not the number 5."),
        ("schemaVersion", MISSING, "/: schemaVersion is missing."),
        ("schemaVersion", "3.0.0", "/: schemaVersion 3.0.0 is not supported; this reads 2.1.0."),
        ("root", MISSING, "/: root is missing: there is nothing to run."),
        ("root/dag/tasks", {}, "/root/dag: the DAG has no tasks."),
        ("components_1", {}, "/: components_1 is no part of a pipeline spec. Did you mean components?"),
        ("components", [], "/components: a mapping is expected here, not a list."),
        ("components/work/executorLabel", "wrok", "the executor wrok does not exist. Did you mean work?"),
        (
            "components/work/executorLabel",
            MISSING,
            "/components/work: a component needs a dag or an executorLabel.",
        ),
        (
            f"{TASKS}/first/componentRef/name",
            "wrk",
            "/root/dag/tasks/first: the component wrk does not exist. Did you mean work?",
        ),
        (f"{TASKS}/first/dependentTasks", ["nobody"], "the task nobody it waits for does not exist."),
        (f"{TASKS}/first/dependentTasks", ["second"], "wait for each other."),
        (
            f"{TASKS}/first/inputs/parameters/n",
            from_input("m"),
            "n comes from the input m, which does not exist.",
        ),
        (f"{TASKS}/first/inputs/parameters/n", {}, "it is not said where this parameter comes from."),
        (
            f"{TASKS}/second/inputs/parameters/n",
            from_task("first", "Out"),
            "first has no output parameter Out.",
        ),
        (f"{TASKS}/first/triggerPolicy", {"strategy": "NEVER"}, "the trigger strategy 'NEVER' is unknown."),
        (f"{TASKS}/first/retryPolicy", {"backoffDuration": "soon"}, "'soon' is no duration such as '60s'."),
        (
            f"{TASKS}/first/parameterIterator",
            {"itemInput": "n", "items": {"raw": "no list"}},
            "raw must be a JSON list.",
        ),
        (
            f"{TASKS}/first/parameterIterator",
            {"itemInput": "n", "items": {"inputParameter": "ns"}},
            "it loops over ns, which is none of its inputs.",
        ),
        (
            "root/dag/outputs/parameters/Output",
            selected(("third", "Output")),
            "the task third does not exist.",
        ),
        ("root/dag/outputs/parameters/Output", {}, "neither valueFromParameter nor valueFromOneof"),
        (
            "root/inputDefinitions/parameters/n/parameterType",
            "INTEGER",
            "the parameter type 'INTEGER' is unknown.",
        ),
        ("deploymentSpec/executors/work/container/image", MISSING, "image is missing."),
        (
            "deploymentSpec/executors/work/container/command",
            "sh",
            "a list is expected here, not the text 'sh'.",
        ),
        ("deploymentSpec/executors/work", {}, "an executor needs a container or an importer."),
    ],
)
def test_what_is_wrong_is_said_with_its_place(path: str, value: Any, sentence: str) -> None:
    made = sound()
    put(made, path, value)
    with pytest.raises(SpecError) as caught:
        load_pipeline(json.dumps(made))
    assert any(sentence in problem for problem in caught.value.problems), caught.value.problems


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "The document is empty"),
        ("# only a comment\n", "The document is empty"),
        ("just text", "The document is no compiled pipeline: it is the text 'just text'."),
        ("- a list", "The document is no compiled pipeline: it is a list."),
        ("a: 1", "neither pipelineInfo nor root is there."),
        ("apiVersion: v1\nkind: Workflow", "It is a Kubernetes object of kind Workflow."),
        ("name: x\nimplementation: {}", "It is a component in the format of KFP 1"),
        ("platforms: {}", "The document holds no pipeline spec; exactly one is expected."),
    ],
)
def test_documents_that_are_no_pipeline(text: str, sentence: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_pipeline(text)
    assert sentence in caught.value.problems[0]


def test_all_problems_are_told_at_once() -> None:
    made = sound()
    put(made, "schemaVersion", "1.0")
    put(made, "pipelineInfo/name", MISSING)
    with pytest.raises(SpecError) as caught:
        load_pipeline(json.dumps(made))
    assert len(caught.value.problems) == 2


def test_components_that_contain_each_other() -> None:
    made = sound()
    made["components"]["a"] = component(dag={"tasks": {"b": task("b", "b")}})
    made["components"]["b"] = component(dag={"tasks": {"a": task("a", "a")}})
    with pytest.raises(SpecError, match="contain each other"):
        load_pipeline(json.dumps(made))


def test_the_facade() -> None:
    made = load_pipeline(json.dumps(sound()))
    assert made.name == "by-hand"
    assert made.outputs == {"Output": "NUMBER_INTEGER"}
    assert made.images == {"work": "alpine"}
    assert made.packages == {}
    n, words, note = (made.parameters[name] for name in ("n", "words", "note"))
    assert (n.type, n.default, n.required) == (ParameterType.NUMBER_INTEGER, 3, False)
    assert n.type == "NUMBER_INTEGER"
    assert (words.default, words.required) == (MISSING, True)
    assert (note.optional, note.required) == (True, False)
    assert made.model.root.dag is not None
    assert made.model.root.dag.tasks["second"].dependencies == ("first",)


def test_the_digest_sees_content_only() -> None:
    made = sound()
    digest = load_pipeline(json.dumps(made)).digest
    assert len(digest) == 64
    assert load_pipeline("# a comment\n" + json.dumps(made, indent=3, sort_keys=True)).digest == digest
    made["root"]["inputDefinitions"]["parameters"]["n"]["defaultValue"] = 3.0
    assert load_pipeline(json.dumps(made)).digest == digest
    made["root"]["inputDefinitions"]["parameters"]["n"]["defaultValue"] = 4
    assert load_pipeline(json.dumps(made)).digest != digest


def test_platform_documents_belong_to_the_digest_and_the_text() -> None:
    bare = load_pipeline(json.dumps(sound()))
    platforms = {
        "kubernetes": {"deploymentSpec": {"executors": {"work": {"podMetadata": {"labels": {"a": "b"}}}}}}
    }
    made = load_pipeline(json.dumps(sound()) + "\n---\n" + json.dumps({"platforms": platforms}))
    assert made.digest != bare.digest
    assert made.platform_config("work") == {"podMetadata": {"labels": {"a": "b"}}}
    assert made.platform_config("other") == {}
    again = load_pipeline(made.text)
    assert (again.digest, again.platforms, again.model) == (made.digest, made.platforms, made.model)


def test_the_wrappings_of_the_api() -> None:
    wrapped = {"pipeline_spec": sound(), "platform_spec": {"platforms": {"kubernetes": {}}}}
    made = load_pipeline(json.dumps(wrapped))
    assert made.name == "by-hand"
    assert list(made.platforms) == ["kubernetes"]
    assert load_pipeline(json.dumps({"pipelineSpec": sound()})).name == "by-hand"


def test_a_path_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.json"
    path.write_text(json.dumps(sound()))
    assert load_pipeline(path).name == "by-hand"
    with pytest.raises(FileNotFoundError):
        load_pipeline(tmp_path / "absent.yaml")


def test_old_spellings_of_types_and_constants() -> None:
    made = sound()
    made["root"]["inputDefinitions"]["parameters"]["n"] = {"type": "INT"}
    put(made, f"{TASKS}/first/inputs/parameters/n", {"runtimeValue": {"constantValue": {"intValue": "3"}}})
    loaded = load_pipeline(json.dumps(made))
    assert loaded.parameters["n"].type is ParameterType.NUMBER_INTEGER
    put(made, f"{TASKS}/first/inputs/parameters/n", constant(None))
    assert load_pipeline(json.dumps(made)).name == "by-hand"


@pytest.mark.corpus
def test_every_pipeline_of_the_corpus_survives_the_way_to_a_backend() -> None:
    if corpus_dir() is None:
        pytest.skip("KFP's test pipelines are not on this machine (set KFBRIDGE_CORPUS)")
    files = corpus_files("critical", "failing", "local_execution", "parallel_and_nested")
    assert len(files) > 50
    for path in files:
        made = load_pipeline(path)
        again = load_pipeline(made.text)
        assert (again.digest, again.model) == (made.digest, made.model), path.name


@pytest.mark.corpus
@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("empty_file.yaml", "The document is empty"),
        ("empty_zip.zip", "The document is empty"),
        ("invalid-zip.zip", "no UTF-8 text"),
        ("invalid_yaml.yaml", "components_1 is no part of a pipeline spec"),
        ("no_name.yaml", "name is missing"),
        ("wrong_format.png", "The document is empty"),
    ],
)
def test_the_invalid_files_of_the_corpus(name: str, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence):
        load_pipeline(corpus_file(f"invalid/{name}"))
