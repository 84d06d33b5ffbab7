"""What is found out when a DAG is parsed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, Asset, task

from bridge.provider.operators import KubeflowPipelineOperator
from tests.support.airflow_version import dag_serialization
from tests.unit.provider.support import PIPELINES, TRAINING

Operator = Callable[..., KubeflowPipelineOperator]


@pytest.fixture
def operator() -> Operator:
    def make(**options: Any) -> KubeflowPipelineOperator:
        with DAG("training"):
            return KubeflowPipelineOperator(**{"task_id": "train", "pipeline": str(TRAINING), **options})

    return make


def test_good_arguments_pass(operator: Operator) -> None:
    assert operator(arguments={"epochs": 3, "rate": 1}).arguments == {"epochs": 3, "rate": 1}


def test_a_parse_error_names_dag_task_pipeline_and_every_problem(operator: Operator) -> None:
    with pytest.raises(ValueError, match="cannot run its pipeline") as caught:
        operator(arguments={"epochs": "ten", "ratte": 0.1, "shuffle": 1})
    message = str(caught.value)
    assert "DAG 'training', task 'train'" in message
    assert str(TRAINING) in message
    assert "/arguments/epochs: epochs takes an integer" in message
    assert "/arguments/ratte: training has no parameter ratte. Did you mean rate?" in message
    assert "/arguments/shuffle: shuffle takes" in message


def test_a_missing_argument_is_found(operator: Operator) -> None:
    with pytest.raises(ValueError, match="/arguments/epochs: epochs is missing"):
        operator()


def test_templates_and_xcoms_count_as_given(operator: Operator) -> None:
    @task
    def choose() -> int:
        return 3

    operator(arguments={"epochs": "{{ params.epochs }}", "note": "{{ ds }}"})
    with DAG("other"):
        KubeflowPipelineOperator(
            task_id="train", pipeline=str(TRAINING), arguments={"epochs": choose(), "flights": ["{{ ds }}"]}
        )


def test_an_unknown_name_is_found_also_with_a_templated_value(operator: Operator) -> None:
    with pytest.raises(ValueError, match="no parameter epoch"):
        operator(arguments={"epochs": 1, "epoch": "{{ ds }}"})


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({"flghts": "s3://b/k"}, "/inputs/flghts: the input flghts has no parameter of that name"),
        ({"rate": "s3://b/k"}, "/inputs/rate: the input rate is a URI, but rate takes"),
    ],
)
def test_an_input_needs_a_parameter_that_takes_a_uri(
    operator: Operator, inputs: dict[str, str], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem):
        operator(arguments={"epochs": 1}, inputs=inputs)


def test_an_input_given_as_an_argument_too_is_refused(operator: Operator) -> None:
    with pytest.raises(ValueError, match="given twice"):
        operator(arguments={"epochs": 1, "flights": []}, inputs={"flights": "s3://b/k"})


def test_a_missing_file_names_where_it_was_looked_for(operator: Operator) -> None:
    with pytest.raises(ValueError, match=r"there is no pipeline file 'nowhere\.yaml'") as caught:
        operator(pipeline="nowhere.yaml")
    assert str(Path(__file__).parent / "nowhere.yaml") in str(caught.value)


def test_a_file_that_is_no_pipeline_says_so(operator: Operator, tmp_path: Path) -> None:
    (tmp_path / "notes.yaml").write_text("a: list\n")
    with pytest.raises(ValueError, match="is no compiled pipeline"):
        operator(pipeline=str(tmp_path / "notes.yaml"))


@pytest.mark.parametrize(
    "pipeline",
    [
        "s3://bucket/p.yaml",
        "https://example.org/p.yaml",
        "{{ params.pipeline }}",
        {"name": "p", "version": "1"},
    ],
)
def test_a_pipeline_that_is_elsewhere_is_not_fetched_to_parse_a_dag(
    operator: Operator, pipeline: Any
) -> None:
    assert operator(pipeline=pipeline, arguments={"whatever": 1}).pipeline == pipeline


def test_a_relative_path_is_looked_for_beside_the_dag_file(tmp_path: Path) -> None:
    (tmp_path / "training.yaml").write_bytes(TRAINING.read_bytes())
    with DAG("training") as dag:
        dag.fileloc = str(tmp_path / "dag.py")
        with pytest.raises(ValueError, match="epochs is missing"):
            KubeflowPipelineOperator(task_id="train", pipeline="training.yaml")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"on_retry": "again"}, "on_retry is 'again'; it has to be one of new_run, retry_failed_tasks"),
        ({"on_clear": ""}, "on_clear is ''"),
        ({"on_kill": "kill"}, "on_kill is 'kill'; it has to be one of cancel, detach"),
        ({"gate_action": "warn"}, "gate_action is 'warn'"),
        ({"timeout": timedelta(0)}, "timeout is 0 s"),
        ({"patience_seconds": -1}, "patience_seconds is -1"),
    ],
)
def test_a_wrong_choice_is_named(operator: Operator, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match="task 'train'") as caught:
        operator(arguments={"epochs": 1}, **options)
    assert problem in str(caught.value)


def test_the_method_on_kill_is_not_hidden_by_the_parameter(operator: Operator) -> None:
    made = operator(arguments={"epochs": 1}, on_kill="detach")
    made.on_kill()
    assert made.kill_policy == "detach"


def test_the_dag_serialises_the_same_each_time_it_is_parsed() -> None:
    def parse() -> dict[str, Any]:
        with DAG("training") as dag:
            KubeflowPipelineOperator(
                task_id="train",
                pipeline=str(PIPELINES / "training.yaml"),
                arguments={"epochs": 1, "note": "{{ ds }}"},
                inputs={"flights": [Asset("flights", uri="s3://lake/flights"), "s3://lake/more"]},
                labels={"team": "delays"},
            )
        serialised = dag_serialization().serialize_dag(dag)
        dag_serialization().deserialize_dag(serialised)
        return json.loads(json.dumps(serialised))

    first, second = parse(), parse()
    assert first == second
    (made,) = first["tasks"]
    text = json.dumps(made)
    assert "0x" not in text
    assert "BridgeRunLink" in text


def test_every_template_field_is_an_attribute(operator: Operator) -> None:
    made = operator(arguments={"epochs": 1})
    assert all(hasattr(made, name) for name in made.template_fields)
    assert not made.template_ext
