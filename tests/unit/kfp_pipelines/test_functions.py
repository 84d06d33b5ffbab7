"""A kfp function as the operator compiles it, where kfp is and Airflow is not."""

import sys

import pytest
from kfp import dsl

from bridge.provider.functions import FunctionProblem, compile_function, is_component
from bridge.spec.load import load_pipeline
from kfp_pipelines.compile import COMPILED
from kfp_pipelines.hello import hello


@dsl.component(base_image="python:3.11")
def step(x: int) -> int:
    return x


def test_a_function_compiles_to_what_the_compiler_writes() -> None:
    compiled = compile_function(hello)
    assert "airflow" not in sys.modules
    assert compiled.digest == load_pipeline(COMPILED / "hello.yaml").digest
    assert compiled.digest == load_pipeline(compiled.text).digest
    assert compiled == compile_function(hello)
    assert str(compiled) == repr(compiled) == f"kfp function {compiled.name} ({compiled.digest[:12]})"


def test_what_kfp_decorated_is_told_from_what_it_did_not() -> None:
    assert is_component(hello)
    assert is_component(step)
    assert compile_function(step).name == "step"
    for other in ("hello.yaml", {"name": "hello"}, print, None):
        assert not is_component(other)


def test_what_kfp_cannot_compile_is_told() -> None:
    with pytest.raises(FunctionProblem, match="kfp cannot compile the function 7"):
        compile_function(7)
