"""Flight-delay training: which flights out of New York will be late?

The data comes in through ``dsl.importer``, one task for each partition, so that the artifact a
backend records has the very URI that the ETL wrote. There is no gate in here: whether a model is
better than the last good one is the bridge's question, since KFP cannot know that model.
"""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Model

from kfp_pipelines.flight_data import features, validate
from kfp_pipelines.flight_model import evaluate, register, train


class Outputs(NamedTuple):
    """What a run hands to whoever waits for it."""

    auc: float
    model: Model


@dsl.pipeline(
    name="flight-delay",
    description="Trains and judges a model that tells which flights out of New York will be late.",
)
def flight_delay(  # noqa: PLR0917 -- kfp calls it with positions
    flights: list[str],
    versions: list[str] = [],  # noqa: B006 -- kfp writes the default into the compiled pipeline
    target: str = "arrival",
    threshold_minutes: int = 15,
    holdout_days: int = 0,
    test_share: float = 0.25,
    minimum_rows: int = 200,
    maximum_bad_share: float = 0.01,
    max_iter: int = 80,
    learning_rate: float = 0.05,
    seed: int = 7,
    register_to: str = "",
) -> Outputs:
    """Trains on the given partitions.

    Args:
        flights: URIs of Parquet partitions, one for each day.
        versions: sha256 digests of those partitions, in any order; given, they are checked against what is
            read, and data that changed is never served from a cache. Left empty, nothing is checked, and a
            backend that caches by URI cannot see that a partition was overwritten.
        target: arrival or departure, whose delay is predicted.
        threshold_minutes: From how many minutes on a flight counts as late.
        holdout_days: How many of the newest days judge the model; 0 takes test_share of the flights instead.
        test_share: The share of flights, 0 to 1, that judges the model if holdout_days is 0.
        minimum_rows: Fewer flights than this are refused.
        maximum_bad_share: The share of implausible values, 0 to 1, that a column may have.
        max_iter: The number of trees.
        learning_rate: How much each tree may correct.
        seed: Decides the draw of test flights and the model's own randomness.
        register_to: Folder of the model registry (a file URI or an absolute path); empty keeps the model in
            the run's artifact store.
    """
    with dsl.ParallelFor(flights, parallelism=10) as uri:
        partition = dsl.importer(artifact_uri=uri, artifact_class=Dataset, reimport=False)
    validated = validate(
        partitions=dsl.Collected(partition.output),
        versions=versions,
        minimum_rows=minimum_rows,
        maximum_bad_share=maximum_bad_share,
    )
    made = features(
        flights=validated.outputs["flights"],
        target=target,
        threshold_minutes=threshold_minutes,
        holdout_days=holdout_days,
        test_share=test_share,
        seed=seed,
    )
    trained = train(table=made.outputs["table"], seed=seed, max_iter=max_iter, learning_rate=learning_rate)
    judged = evaluate(table=made.outputs["table"], model=trained.outputs["model"])
    kept = register(
        model=trained.outputs["model"],
        scores=judged.outputs["scores"],
        flights=flights,
        register_to=register_to,
    )
    # A registry may be tidied up behind a cache's back; registering again costs nothing.
    kept.set_caching_options(False)
    return Outputs(judged.outputs["Output"], kept.outputs["registered"])
