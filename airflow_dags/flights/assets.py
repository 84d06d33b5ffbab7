"""The assets by which one DAG schedules another."""

from __future__ import annotations

from airflow.sdk import Asset
from flights.settings import MODEL_NAME, flights_uri, registry_uri

FLIGHTS = Asset(name="flights", uri=flights_uri())
"""Updated by ``flights_etl``; an event's ``extra`` tells the partitions that were written."""

DELAY_MODEL = Asset(name="flight_delay_model", uri=f"{registry_uri()}/{MODEL_NAME}")
"""Updated by ``delay_model_retraining``; an event's ``extra`` tells the run, its metrics and its models."""
