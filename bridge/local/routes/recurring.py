"""KFP's RecurringRunService."""

from __future__ import annotations

import sqlite3
from typing import Any

from fastapi import APIRouter, Request, Response

from bridge.local import store_experiments, store_pipelines, store_recurring
from bridge.local.answers import list_json, recurring_run_json
from bridge.local.cron import CronError, parse_cron
from bridge.local.requests import RecurringRunMessage, TriggerMessage, read_message
from bridge.local.routes.shared import PREFIX, Backend, answer, backend_of, encode, encoded, list_request
from bridge.local.schedules import Trigger
from bridge.local.sources import find_source
from bridge.local.status import invalid
from bridge.local.store_listing import list_rows
from bridge.local.store_recurring import RECURRING_RUNS, NewRecurringRun
from bridge.spec.arguments import check_arguments
from bridge.spec.load import SpecError

router = APIRouter(prefix=f"{PREFIX}/recurringruns")
_MOST_AT_ONCE = 10
_PROPAGATION = ("", "DELETE_PROPAGATION_POLICY_UNSPECIFIED", "FOREGROUND", "BACKGROUND", "ORPHAN", *"0123")


@router.post("")
async def create(request: Request) -> Response:
    """CreateRecurringRun"""
    backend = backend_of(request)
    message = read_message(await request.body(), RecurringRunMessage)
    new = await _new(backend, message)
    row = await backend.store.write(lambda connection: store_recurring.add_recurring_run(connection, new))
    backend.scheduler.rounds.wake()
    return answer(recurring_run_json(row, message.pipeline_spec))


@router.get("")
async def list_recurring_runs(request: Request) -> Response:
    """ListRecurringRuns"""
    wanted = list_request(request)
    experiment_id = request.query_params.get("experiment_id", "")
    fixed = [("experiment_id", experiment_id)] if experiment_id else []

    def read(connection: sqlite3.Connection) -> bytes:
        if experiment_id:
            store_experiments.get_experiment(connection, experiment_id)
        page = list_rows(connection, RECURRING_RUNS, wanted, fixed)
        # The one field of this API whose name is not snake_case.
        return encode(list_json("recurringRuns", [_shown(connection, row) for row in page.rows], page))

    return encoded(await backend_of(request).store.read(read))


@router.get("/{recurring_run_id}")
async def get(request: Request, recurring_run_id: str) -> Response:
    """GetRecurringRun"""

    def read(connection: sqlite3.Connection) -> bytes:
        return encode(_shown(connection, store_recurring.get_recurring_run(connection, recurring_run_id)))

    return encoded(await backend_of(request).store.read(read))


@router.delete("/{recurring_run_id}")
async def delete(request: Request, recurring_run_id: str) -> Response:
    """DeleteRecurringRun: its runs stay and go on, whatever the ``propagation_policy``"""
    policy = request.query_params.get("propagation_policy", "")
    if policy not in _PROPAGATION:
        raise invalid(f"invalid value for propagation_policy: {policy!r}")
    await backend_of(request).store.write(
        lambda connection: store_recurring.delete_recurring_run(connection, recurring_run_id)
    )
    return answer({})


@router.post("/{recurring_run_id}:enable")
async def enable(request: Request, recurring_run_id: str) -> Response:
    """EnableRecurringRun"""
    return await _set_enabled(request, recurring_run_id, True)


@router.post("/{recurring_run_id}:disable")
async def disable(request: Request, recurring_run_id: str) -> Response:
    """DisableRecurringRun: runs that were made already go on"""
    return await _set_enabled(request, recurring_run_id, False)


async def _set_enabled(request: Request, recurring_run_id: str, enabled: bool) -> Response:
    backend = backend_of(request)
    await backend.store.write(
        lambda connection: store_recurring.set_enabled(connection, recurring_run_id, enabled)
    )
    backend.scheduler.rounds.wake()
    return answer({})


def _shown(connection: sqlite3.Connection, row: sqlite3.Row) -> dict[str, Any]:
    inline = row["spec_id"] and not row["pipeline_id"]
    return recurring_run_json(
        row, store_pipelines.spec_document(connection, row["spec_id"]) if inline else None
    )


async def _new(backend: Backend, message: RecurringRunMessage) -> NewRecurringRun:
    if not message.display_name.strip():
        raise invalid("Recurring run name is empty. Please specify a valid name")
    if not 1 <= message.max_concurrency <= _MOST_AT_ONCE:
        raise invalid(
            f"Max concurrency of a recurring run must be at least 1 and at most {_MOST_AT_ONCE}. "
            f"Received {message.max_concurrency}"
        )
    trigger = _trigger(message.trigger)
    source = await find_source(backend.store, backend.specs, message)
    try:
        parameters = check_arguments(source.pipeline, message.runtime_config.parameters)
    except SpecError as error:
        raise invalid(f"Failed to create a recurring run: {error}") from error
    reference = message.pipeline_version_reference
    pinned = (reference.pipeline_version_id if reference else "") or message.pipeline_version_id
    return NewRecurringRun(
        display_name=message.display_name,
        description=message.description,
        namespace=message.namespace,
        experiment_id=message.experiment_id,
        service_account=message.service_account,
        trigger=trigger,
        parameters=parameters,
        max_concurrency=message.max_concurrency,
        enabled=message.enabled,
        no_catchup=message.no_catchup,
        pipeline_id=source.pipeline_id,
        pipeline_version_id=pinned,
        spec_text=source.text if pinned or source.inline else None,
        pipeline_root=message.runtime_config.pipeline_root,
    )


def _trigger(message: TriggerMessage) -> Trigger:
    by_cron, by_interval = message.cron_schedule, message.periodic_schedule
    if by_cron is not None and by_interval is not None:
        raise invalid("invalid request: a trigger has either a cron_schedule or a periodic_schedule")
    if by_cron is not None:
        try:
            parse_cron(by_cron.cron)
        except CronError as error:
            raise invalid(
                "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron). "
                f"Error: {error}"
            ) from error
        return Trigger(cron=by_cron.cron, start=by_cron.start_time, end=by_cron.end_time)
    if by_interval is not None:
        if by_interval.interval_second < 1:
            raise invalid(
                f"Found invalid period schedule interval {by_interval.interval_second}. "
                "Set at interval to least 1 second"
            )
        return Trigger(
            interval_seconds=by_interval.interval_second,
            start=by_interval.start_time,
            end=by_interval.end_time,
        )
    return Trigger()
