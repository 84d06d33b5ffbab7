"""Training, evaluation and registration on real flights: the whole chain, and its refusals."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from kfp.dsl import ClassificationMetrics, Dataset, Markdown, Metrics, Model

from kfp_pipelines.flight_data import features, validate
from kfp_pipelines.flight_model import calibration, evaluate, register, thin_roc, train


@dataclass
class Trained:
    """The artifacts of one training, in the order in which they came to be."""

    table: Dataset
    model: Model
    scores: Metrics = field(default_factory=Metrics)
    curves: ClassificationMetrics = field(default_factory=ClassificationMetrics)
    report: Markdown = field(default_factory=Markdown)
    auc: float = 0.0


@pytest.fixture
def table(partitions: list[Dataset], tmp_path: Path) -> Dataset:
    """The feature table of the three days."""
    flights = Dataset(uri=str(tmp_path / "flights.parquet"))
    validate.python_func(
        partitions=partitions,
        versions=[],
        minimum_rows=200,
        maximum_bad_share=0.01,
        counts=Metrics(),
        flights=flights,
    )
    made = Dataset(uri=str(tmp_path / "table.parquet"))
    features.python_func(
        flights=flights,
        target="arrival",
        threshold_minutes=15,
        holdout_days=0,
        test_share=0.25,
        seed=7,
        table=made,
    )
    return made


@pytest.fixture
def trained(table: Dataset, tmp_path: Path) -> Trained:
    """A model trained and judged."""
    made = Trained(
        table, Model(uri=str(tmp_path / "model")), report=Markdown(uri=str(tmp_path / "report.md"))
    )
    train.python_func(table=table, seed=7, max_iter=30, learning_rate=0.1, model=made.model)
    made.auc = evaluate.python_func(
        table=table, model=made.model, scores=made.scores, curves=made.curves, report=made.report
    )
    return made


def test_the_model_beats_chance_on_flights_it_never_saw(trained: Trained) -> None:
    scores = trained.scores.metadata
    assert 0.6 < trained.auc == scores["auc"] < 1.0
    assert scores["accuracy"] > 1 - scores["base_rate"] - 0.05
    assert 0 < scores["brier"] < scores["base_rate"] * (1 - scores["base_rate"])
    assert 0 < scores["log_loss"] < 0.7
    assert scores["rows"] == trained.table.metadata["rows_test"]
    assert all(math.isfinite(value) for value in scores.values())


def test_the_same_data_and_seed_give_the_same_scores(trained: Trained, tmp_path: Path) -> None:
    again = Model(uri=str(tmp_path / "again"))
    train.python_func(table=trained.table, seed=7, max_iter=30, learning_rate=0.1, model=again)
    scores = Metrics()
    evaluate.python_func(
        table=trained.table,
        model=again,
        scores=scores,
        curves=ClassificationMetrics(),
        report=Markdown(uri=str(tmp_path / "again.md")),
    )
    assert scores.metadata == trained.scores.metadata


def test_the_model_says_what_it_is_and_is_no_pickle(trained: Trained) -> None:
    assert trained.model.metadata["framework"] == "scikit-learn"
    assert trained.model.metadata["rows_trained"] == trained.table.metadata["rows_train"]
    assert trained.model.metadata["hyperparameters"] == {"max_iter": 30, "learning_rate": 0.1, "seed": 7}
    # skops is a zip archive around a schema; a pickle starts with a protocol byte.
    assert Path(trained.model.path).read_bytes().startswith(b"PK")


def test_curve_and_matrix_fit_into_json_and_are_small(trained: Trained) -> None:
    metadata = json.loads(json.dumps(trained.curves.metadata, allow_nan=False))
    points = metadata["confidenceMetrics"]
    assert 2 < len(points) <= 50
    assert (points[0]["falsePositiveRate"], points[0]["recall"]) == (0.0, 0.0)
    assert (points[-1]["falsePositiveRate"], points[-1]["recall"]) == (1.0, 1.0)
    assert all(0 <= point["confidenceThreshold"] <= 1 for point in points)
    matrix = metadata["confusionMatrix"]
    assert [spec["displayName"] for spec in matrix["annotationSpecs"]] == ["on time", "late"]
    assert sum(sum(row["row"]) for row in matrix["rows"]) == trained.table.metadata["rows_test"]


def test_the_report_is_for_people(trained: Trained) -> None:
    text = Path(trained.report.path).read_text(encoding="utf-8")
    assert text.startswith("# Flights 15 minutes or more late at arrival")
    assert f"| auc | {trained.auc:.4f} |" in text
    assert "## Calibration" in text


def test_a_model_of_unknown_types_is_not_loaded(trained: Trained, tmp_path: Path) -> None:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    trained.model.uri = str(tmp_path / "stranger")
    skops.io.dump(FunctionTransformer(func=print), trained.model.path)
    with pytest.raises(ValueError, match="types nobody vouched for"):
        evaluate.python_func(
            table=trained.table,
            model=trained.model,
            scores=Metrics(),
            curves=ClassificationMetrics(),
            report=trained.report,
        )


def _only_on_time(table: Dataset, split: str) -> None:
    frame = pd.read_parquet(table.path)
    frame.loc[frame["split"] == split, "late"] = 0
    frame.to_parquet(table.path)


def test_training_flights_of_one_label_are_refused(table: Dataset, tmp_path: Path) -> None:
    _only_on_time(table, "train")
    with pytest.raises(ValueError, match="training flights have the same label"):
        train.python_func(
            table=table, seed=7, max_iter=3, learning_rate=0.1, model=Model(uri=str(tmp_path / "model"))
        )


def test_held_out_flights_of_one_label_are_refused(trained: Trained) -> None:
    _only_on_time(trained.table, "test")
    with pytest.raises(ValueError, match="held-out flights have the same label"):
        evaluate.python_func(
            table=trained.table,
            model=trained.model,
            scores=Metrics(),
            curves=ClassificationMetrics(),
            report=trained.report,
        )


def test_thinning_keeps_the_ends_and_bounds_the_points() -> None:
    rates = np.linspace(0, 1, 1001)
    thresholds = np.concatenate([[np.inf], np.linspace(1, 0, 1000)])
    points = thin_roc(rates, rates, thresholds, 50)
    assert len(points) == 50
    assert points[0] == (0.0, 0.0, 1.0)
    assert points[-1] == (1.0, 1.0, 0.0)
    assert points == sorted(points, key=lambda point: point[0])
    assert thin_roc(rates[:2], rates[:2], thresholds[:2], 50) == [(0.0, 0.0, 1.0), (0.001, 0.001, 1.0)]


def test_calibration_counts_every_flight_once() -> None:
    generator = np.random.default_rng(7)
    probabilities = generator.uniform(0, 1, 1000)
    labels = (generator.uniform(0, 1, 1000) < probabilities).astype(int)
    table = calibration(labels, probabilities, 10)
    assert len(table) == 10
    assert sum(row["flights"] for row in table) == 1000
    assert all(abs(row["predicted"] - row["observed"]) < 0.15 for row in table)
    assert calibration(labels, np.full(1000, 0.5), 10)[0]["flights"] == 1000


def _register(trained: Trained, folder: str) -> Model:
    registered = Model(uri=str(Path(trained.model.path).with_name("registered")))
    register.python_func(
        model=trained.model,
        scores=trained.scores,
        flights=["file:///data/flights/year=2013/month=01/day=01/flights.parquet"],
        register_to=folder,
        registered=registered,
    )
    return registered


@pytest.mark.parametrize("as_uri", [True, False])
def test_a_registered_model_lies_under_its_digest_with_a_card(
    trained: Trained, tmp_path: Path, as_uri: bool
) -> None:
    registry = tmp_path / "model registry"
    registered = _register(trained, registry.as_uri() if as_uri else str(registry))
    digest = hashlib.sha256(Path(trained.model.path).read_bytes()).hexdigest()
    stored = registry / "flight-delay" / f"sha256-{digest}" / "model.skops"
    assert registered.uri == stored.as_uri()
    assert stored.read_bytes() == Path(trained.model.path).read_bytes()
    card = json.loads(stored.with_name("card.json").read_text(encoding="utf-8"))
    assert card["digest"] == f"sha256:{digest}" == registered.metadata["digest"]
    assert card["scores"]["auc"] == trained.auc
    assert card["flights"] == ["file:///data/flights/year=2013/month=01/day=01/flights.parquet"]


def test_registering_twice_changes_nothing_and_leaves_no_drafts(trained: Trained, tmp_path: Path) -> None:
    first = _register(trained, str(tmp_path / "registry"))
    card = Path(first.uri.removeprefix("file://")).with_name("card.json")
    written = card.stat().st_mtime_ns
    assert _register(trained, str(tmp_path / "registry")).uri == first.uri
    assert card.stat().st_mtime_ns == written
    assert len(list(card.parents[1].iterdir())) == 1


def test_without_a_registry_the_model_stays_in_the_artifact_store(trained: Trained) -> None:
    registered = _register(trained, "")
    assert Path(registered.path).read_bytes() == Path(trained.model.path).read_bytes()


@pytest.mark.parametrize("folder", ["relative/folder", "s3://bucket/models", "file:relative"])
def test_a_registry_this_task_cannot_write_is_refused(trained: Trained, folder: str) -> None:
    with pytest.raises(ValueError, match="expected a file URI or an absolute path"):
        _register(trained, folder)
