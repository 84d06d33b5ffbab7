"""The second half of flight-delay training: features in; a model, its evaluation and its registration out."""

from typing import Any

from kfp import dsl
from kfp.dsl import ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

from kfp_pipelines.environment import BASE_IMAGE, TRAINING_PACKAGES


def trusted_types() -> list[str]:
    """What a stored model may hold beyond skops' own list of harmless types."""
    return ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]


@dsl.component(base_image=BASE_IMAGE, packages_to_install=TRAINING_PACKAGES)
def train(
    table: Input[Dataset],
    seed: int,
    max_iter: int,
    learning_rate: float,
    model: Output[Model],
):
    """Fits gradient-boosted trees to the training rows; the model file is skops, never a pickle.

    Args:
        table: The features with label and split.
        seed: The model's own random state.
        max_iter: The number of trees.
        learning_rate: How much each tree may correct.
        model: The fitted scikit-learn pipeline.
    """
    import hashlib
    import zipfile
    from pathlib import Path

    import pandas as pd
    import sklearn
    import skops.io
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    frame = pd.read_parquet(table.path)
    rows = frame[frame["split"] == "train"]
    numeric, categorical = list(table.metadata["numeric"]), list(table.metadata["categorical"])
    if rows["late"].nunique() < 2:
        raise ValueError(f"all {len(rows)} training flights have the same label: there is nothing to learn")
    # A carrier or airport that training never saw is treated as missing, which trees can handle.
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=float("nan"))
    estimator = make_pipeline(
        ColumnTransformer([("numeric", "passthrough", numeric), ("categorical", codes, categorical)]),
        # Small trees and large leaves: a few days hold a few thousand flights.
        HistGradientBoostingClassifier(
            max_iter=max_iter,
            learning_rate=learning_rate,
            max_leaf_nodes=8,
            min_samples_leaf=40,
            l2_regularization=1.0,
            early_stopping=False,
            random_state=seed,
        ),
    )
    estimator.fit(rows[numeric + categorical], rows["late"])
    skops.io.dump(estimator, model.path, compression=zipfile.ZIP_DEFLATED)
    digest = hashlib.sha256(Path(model.path).read_bytes()).hexdigest()
    model.metadata.update(
        {
            "framework": "scikit-learn",
            "framework_version": sklearn.__version__,
            "format": "skops",
            "digest": f"sha256:{digest}",
            "algorithm": "HistGradientBoostingClassifier",
            "features": numeric + categorical,
            "rows_trained": len(rows),
            "target": table.metadata["target"],
            "threshold_minutes": table.metadata["threshold_minutes"],
            "hyperparameters": {"max_iter": max_iter, "learning_rate": learning_rate, "seed": seed},
        }
    )
    print(
        f"trained on {len(rows)} flights with {len(numeric)} numbers and {len(categorical)} categories each"
    )


def thin_roc(
    false_rates: Any, true_rates: Any, thresholds: Any, most: int
) -> list[tuple[float, float, float]]:
    """At most ``most`` points (false-positive rate, true-positive rate, threshold) of a ROC curve.

    Both ends are kept, and thresholds are finite: scikit-learn starts with infinity, "call nothing
    late", which JSON and KFP cannot say; probabilities make 1 mean nearly the same.
    """
    count = len(thresholds)
    step = max(1.0, (count - 1) / (most - 1))
    chosen = sorted(
        {round(index * step) for index in range(most) if round(index * step) < count} | {count - 1}
    )
    return [
        (float(false_rates[index]), float(true_rates[index]), min(1.0, float(thresholds[index])))
        for index in chosen
    ]


def calibration(labels: Any, probabilities: Any, bins: int) -> list[dict[str, float]]:
    """By bin of the predicted probability: how many flights, what was predicted, what came true.

    Bins hold equally many flights, as far as ties allow; empty ones are left out.
    """
    import numpy as np

    edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, bins + 1)))
    places = np.clip(np.searchsorted(edges, probabilities, side="right") - 1, 0, max(0, len(edges) - 2))
    table = []
    for place in np.unique(places):
        inside = places == place
        table.append(
            {
                "flights": int(inside.sum()),
                "predicted": float(probabilities[inside].mean()),
                "observed": float(labels[inside].mean()),
            }
        )
    return table


def report_text(
    scores: dict[str, float], matrix: list[list[int]], table: list[dict[str, float]], facts: dict[str, Any]
) -> str:
    """The evaluation as Markdown: scores, confusion matrix and calibration."""
    title = f"# Flights {facts['threshold_minutes']} minutes or more late at {facts['target']}"
    about = f"{facts['rows_trained']} flights trained the model, {int(scores['rows'])} others judged it."
    lines = [title, "", about, "", "| Score | Value |", "|---|---:|"]
    lines += [f"| {name} | {value:.4f} |" for name, value in scores.items() if name != "rows"]
    lines += ["", "## Confusion matrix", "", "| | predicted on time | predicted late |", "|---|---:|---:|"]
    lines += [
        f"| {name} | {row[0]} | {row[1]} |" for name, row in zip(("on time", "late"), matrix, strict=True)
    ]
    lines += ["", "## Calibration", "", "| Flights | Predicted late | Came late |", "|---:|---:|---:|"]
    lines += [f"| {int(row['flights'])} | {row['predicted']:.1%} | {row['observed']:.1%} |" for row in table]
    return "\n".join(lines) + "\n"


@dsl.component(
    base_image=BASE_IMAGE,
    packages_to_install=TRAINING_PACKAGES,
    additional_funcs=[trusted_types, thin_roc, calibration, report_text],
)
def evaluate(
    table: Input[Dataset],
    model: Input[Model],
    scores: Output[Metrics],
    curves: Output[ClassificationMetrics],
    report: Output[Markdown],
) -> float:
    """Judges the model by the flights that were held out. Returns the area under the ROC curve.

    Args:
        table: The features with label and split.
        model: The fitted pipeline.
        scores: accuracy, auc, log_loss, brier, calibration_error, base_rate and rows.
        curves: The ROC curve in at most 50 points, and the confusion matrix at one half.
        report: The same for people, with the calibration by tenths.
    """
    from pathlib import Path

    import pandas as pd
    import skops.io
    from sklearn import metrics

    stored = set(skops.io.get_untrusted_types(file=model.path))
    if not stored <= set(trusted_types()):
        raise ValueError(
            f"the model holds types nobody vouched for: {', '.join(sorted(stored - set(trusted_types())))}"
        )
    estimator = skops.io.load(model.path, trusted=trusted_types())

    frame = pd.read_parquet(table.path)
    rows = frame[frame["split"] == "test"]
    labels = rows["late"].to_numpy()
    if len(set(labels)) < 2:
        raise ValueError(f"all {len(rows)} held-out flights have the same label: no curve can be drawn")
    probabilities = estimator.predict_proba(rows[list(model.metadata["features"])])[:, 1]
    calls = (probabilities >= 0.5).astype(int)
    matrix = metrics.confusion_matrix(labels, calls, labels=[0, 1]).tolist()
    bins = calibration(labels, probabilities, 10)

    values = {
        "accuracy": float(metrics.accuracy_score(labels, calls)),
        "auc": float(metrics.roc_auc_score(labels, probabilities)),
        "log_loss": float(metrics.log_loss(labels, probabilities, labels=[0, 1])),
        "brier": float(metrics.brier_score_loss(labels, probabilities)),
        "calibration_error": sum(b["flights"] * abs(b["predicted"] - b["observed"]) for b in bins)
        / len(rows),
        "base_rate": float(labels.mean()),
        "rows": float(len(rows)),
    }
    for name, value in values.items():
        scores.log_metric(name, value)
    points = thin_roc(*metrics.roc_curve(labels, probabilities), 50)
    curves.log_roc_curve([p[0] for p in points], [p[1] for p in points], [p[2] for p in points])
    curves.log_confusion_matrix(["on time", "late"], matrix)
    Path(report.path).write_text(report_text(values, matrix, bins, model.metadata), encoding="utf-8")
    print(", ".join(f"{name} {value:.4f}" for name, value in values.items()))
    return values["auc"]


@dsl.component(base_image=BASE_IMAGE)
def register(
    model: Input[Model],
    scores: Input[Metrics],
    flights: list[str],
    register_to: str,
    registered: Output[Model],
):
    """Puts the model and a card about it where its name is its digest, so that a version never changes.

    Args:
        model: The fitted pipeline.
        scores: Its evaluation.
        flights: The URIs of the partitions it learned from.
        register_to: The registry's folder, a file URI or an absolute path that this task can write to. Left
            empty, the model stays in this run's artifact store, under the URI that the backend gives it.
        registered: The model under its lasting URI, with its digest.
    """
    import hashlib
    import json
    import shutil
    import tempfile
    from pathlib import Path
    from urllib.parse import quote, unquote, urlsplit

    digest = hashlib.sha256(Path(model.path).read_bytes()).hexdigest()
    card = {
        "name": "flight-delay",
        "digest": f"sha256:{digest}",
        "model": {name: value for name, value in model.metadata.items() if name != "display_name"},
        "scores": {name: value for name, value in scores.metadata.items() if isinstance(value, (int, float))},
        "flights": list(flights),
    }
    registered.metadata.update({**card["model"], "digest": card["digest"], "scores": card["scores"]})
    if not register_to:
        shutil.copyfile(model.path, registered.path)
        print(f"no registry was named: the model stays in the artifact store as {registered.uri}")
        return

    place = urlsplit(register_to)
    if place.scheme not in ("", "file") or not place.path.startswith("/"):
        raise ValueError(f"register_to is {register_to!r}, expected a file URI or an absolute path")
    folder = Path(unquote(place.path) if place.scheme else register_to) / "flight-delay" / f"sha256-{digest}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Filled aside and renamed in one step: whoever sees the folder sees all of it.
        draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
        try:
            shutil.copyfile(model.path, draft / "model.skops")
            (draft / "card.json").write_text(json.dumps(card, indent=2, sort_keys=True), encoding="utf-8")
            draft.chmod(0o755)
            draft.rename(folder)
        except OSError:
            # Somebody may have registered the same bytes meanwhile, which is as good.
            shutil.rmtree(draft)
            if not folder.exists():
                raise
    registered.uri = "file://" + quote(str(folder / "model.skops"))
    print(f"registered {registered.uri}")
