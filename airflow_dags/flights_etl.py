"""ETL: one day of flights out of New York, joined with weather, planes and destinations, as Parquet.

A DagRun loads the day of its logical date, or the one that the param ``day`` names:

    airflow backfill create --dag-id flights_etl --from-date 2013-01-01 --to-date 2013-01-05
    airflow dags trigger flights_etl --conf '{"day": "2013-01-05"}'

Loading a day again writes the same bytes, so that its version, their sha256, stays what it was.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task
from airflow.timetables.events import EventsTimetable
from flights.assets import FLIGHTS

from bridge.provider.notifiers import BridgeRunNotifier

# Daily, for the days that the source knows. An end_date would say so too, but then Airflow starts no task
# of a run triggered by hand, whose logical date is today, whatever day its params name.
_DAYS = EventsTimetable(
    [datetime(2013, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(365)],
    description="every day of 2013",
)


@dag(
    dag_id="flights_etl",
    schedule=_DAYS,
    catchup=False,
    max_active_runs=4,
    default_args={
        "retries": 2,
        "retry_delay": timedelta(seconds=30),
        "on_failure_callback": BridgeRunNotifier(),
    },
    params={"day": Param(None, type=["null", "string"], format="date", description="The day to load.")},
    tags=["flights", "etl"],
    doc_md=__doc__,
)
def flights_etl() -> None:
    """One task a day: it is done in a second, and half a partition is of no use to anybody."""

    @task(outlets=[FLIGHTS])
    def load_day() -> dict[str, Any]:
        """Reads, joins, checks, writes, and tells what was written."""
        # Parsing the DAG needs none of these.
        from airflow.sdk.exceptions import AirflowFailException
        from flights.checks import PartitionError, check_day
        from flights.days import day_of
        from flights.source import SourceError, source_folder
        from flights.storage import write_partition
        from flights.transform import build_day, to_parquet

        from bridge.provider.datasets import publish_dataset

        context = get_current_context()
        try:
            day = day_of(context["params"], context["dag_run"].logical_date)
            table = build_day(source_folder(), day)
            check_day(table, day)
        except (PartitionError, SourceError, ValueError) as error:
            # The same data fails the same checks: trying again would only be later.
            raise AirflowFailException(str(error)) from error
        partition = write_partition(FLIGHTS.uri, day, to_parquet(table), table.num_rows)
        print(f"wrote {partition.rows} flights of {day} to {partition.uri} (sha256 {partition.version})")
        publish_dataset(context, FLIGHTS, partitions=[partition.as_input()])
        return partition.as_input()

    load_day()


flights_etl()
