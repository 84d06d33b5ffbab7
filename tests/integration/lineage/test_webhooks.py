"""What is owed to webhooks, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

from sqlmodel import Session

from bridge.lineage import deliveries, outbox, webhooks
from bridge.lineage.database import Database
from bridge.lineage.deliveries import Delivery
from bridge.lineage.webhooks import StoredWebhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def add(database: Database, **given: object) -> StoredWebhook:
    values: dict[str, object] = {"url": "https://receiver.example/hook", "secret": SECRET, **given}
    return database.transact(lambda s: webhooks.add_webhook(s, **values))  # type: ignore[arg-type]


def tell(database: Database, *types: str, project: str = "default") -> None:
    def write(session: Session) -> None:
        for one in types:
            outbox.append(session, one, uuid4(), {"state": "RUNNING"}, project=project, backend="default")

    database.transact(write)
    database.transact(outbox.number_events)


def take(database: Database, room: dict[UUID, int] | None = None, most: int = 100) -> list[Delivery]:
    return database.transact(
        lambda s: deliveries.claim_deliveries(s, room or {}, most=most, sending_seconds=30)
    )


def owed(database: Database, hook: StoredWebhook) -> list[str]:
    found, _ = database.read(lambda s: deliveries.list_deliveries(s, hook.webhook_id, limit=200))
    return [one.event.type for one in reversed(found)]


def test_a_webhook_is_owed_what_it_wants_of_what_happens_after_it_was_made(database: Database) -> None:
    tell(database, "run.created")
    everything = add(database)
    ends = add(database, types=["run.settled", "run.lost"])
    team = add(database, project="team", types=["run.*"])
    tell(database, "run.created", "run.settled")
    tell(database, "run.lost", project="team")
    while database.transact(deliveries.fan_out):
        pass
    assert owed(database, everything) == ["run.created", "run.settled", "run.lost"]
    assert owed(database, ends) == ["run.settled", "run.lost"]
    assert owed(database, team) == ["run.lost"]


def test_looking_again_owes_nothing_twice(database: Database) -> None:
    hook = add(database)
    tell(database, "run.created", "run.changed", "run.ended")
    counts = [database.transact(lambda s: deliveries.fan_out(s, 2)) for _ in range(4)]
    assert counts == [2, 1, 0, 0]
    assert owed(database, hook) == ["run.created", "run.changed", "run.ended"]


def test_a_paused_webhook_is_told_later_what_happened_meanwhile(database: Database) -> None:
    hook = add(database)
    database.transact(lambda s: webhooks.change_webhook(s, hook.webhook_id, active=False))
    tell(database, "run.created")
    assert database.transact(deliveries.fan_out) == 0
    database.transact(lambda s: webhooks.change_webhook(s, hook.webhook_id, active=True))
    database.transact(deliveries.fan_out)
    assert [one.event.type for one in take(database)] == ["run.created"]


def test_several_senders_never_take_the_same(database: Database) -> None:
    hook = add(database)
    tell(database, *(["run.changed"] * 60))
    database.transact(deliveries.fan_out)
    with ThreadPoolExecutor(4) as pool:
        taken = [one for part in pool.map(lambda _: take(database, most=20), range(4)) for one in part]
    numbers = [one.event.number for one in taken]
    assert len(numbers) == len(set(numbers))
    numbers += [one.event.number for one in take(database)]
    assert sorted(numbers) == list(range(1, 61))
    assert {one.webhook_id for one in taken} == {hook.webhook_id}


def test_a_busy_webhook_leaves_room_to_the_others(database: Database) -> None:
    busy, other = add(database), add(database)
    tell(database, *(["run.changed"] * 10))
    database.transact(deliveries.fan_out)
    taken = take(database, {busy.webhook_id: 0}, most=4)
    assert [one.webhook_id for one in taken] == [other.webhook_id] * 4


def test_a_result_of_a_sender_that_took_too_long_does_not_count(database: Database) -> None:
    add(database)
    tell(database, "run.created")
    database.transact(deliveries.fan_out)
    (first,) = database.transact(lambda s: deliveries.claim_deliveries(s, {}, most=8, sending_seconds=0.0))
    (second,) = take(database)
    assert (first.attempts, second.attempts) == (1, 2)
    finish = deliveries.finish_delivery
    assert not database.transact(lambda s: finish(s, first, "dead", status=500))
    assert database.transact(lambda s: finish(s, second, "delivered", status=200))
    assert not database.transact(lambda s: finish(s, second, "dead", status=500))


def test_dead_ones_are_kept_and_can_be_sent_once_more(database: Database) -> None:
    hook = add(database)
    tell(database, "run.created", "run.ended")
    database.transact(deliveries.fan_out)
    for one in take(database):
        database.transact(
            lambda s, one=one: deliveries.finish_delivery(s, one, "dead", status=500, error="no")
        )
    assert database.transact(lambda s: deliveries.forget_delivered(s, 0.0)) == 0
    counts = database.read(lambda s: deliveries.count_deliveries(s, [hook.webhook_id]))
    assert counts == {hook.webhook_id: {"dead": 2}}
    assert database.transact(lambda s: deliveries.redeliver(s, hook.webhook_id)) == 2
    again = take(database)
    assert [(one.attempts, one.event.type) for one in again] == [(1, "run.created"), (1, "run.ended")]
    for one in again:
        database.transact(lambda s, one=one: deliveries.finish_delivery(s, one, "delivered", status=204))
    # Made in the past, so that no clock has to move.
    assert database.transact(lambda s: deliveries.forget_delivered(s, -1.0)) == 2


def test_pages_of_deliveries_neither_lose_nor_double(database: Database) -> None:
    hook = add(database)
    tell(database, *(["run.changed"] * 7))
    database.transact(deliveries.fan_out)
    seen: list[int] = []
    cursor: str | None = None
    while True:
        page, cursor = database.read(
            lambda s, at=cursor: deliveries.list_deliveries(s, hook.webhook_id, cursor=at, limit=3)
        )
        seen += [one.event.number for one in page]
        if cursor is None:
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]


def test_a_new_secret_signs_beside_the_old_one_for_a_while(database: Database) -> None:
    hook = add(database)
    rotate = webhooks.rotate_secret
    both = database.transact(lambda s: rotate(s, hook.webhook_id, "whsec_new", both_for_seconds=60))
    assert both.secrets == ("whsec_new", SECRET)
    one = database.transact(lambda s: rotate(s, hook.webhook_id, "whsec_newer", both_for_seconds=-1))
    assert one.secrets == ("whsec_newer",)


def test_a_removed_webhook_is_owed_nothing(database: Database) -> None:
    hook = add(database)
    tell(database, "run.created")
    database.transact(deliveries.fan_out)
    assert database.transact(lambda s: webhooks.remove_webhook(s, hook.webhook_id))
    assert not database.transact(lambda s: webhooks.remove_webhook(s, hook.webhook_id))
    assert take(database) == []
