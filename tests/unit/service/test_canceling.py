from __future__ import annotations

from tests.unit.service.harness import Harness
from tests.unit.service.test_repeating import origin


async def cancel(service: Harness, run_id: str, **body: object) -> int:
    answer = await service.client.post(f"/api/v1/runs/{run_id}:cancel", json=body)
    return answer.status_code


async def test_a_run_not_yet_sent_is_withdrawn(service: Harness) -> None:
    run_id = (await service.submit()).json()["run_id"]
    assert await cancel(service, run_id) == 202
    await service.send()
    run = await service.run(run_id)
    assert (run["phase"], run["state"], run["over"]) == ("ENDED", "CANCELED", True)
    assert service.kfp.workflows == []


async def test_an_active_run_is_terminated_once_and_followed_to_its_end(service: Harness) -> None:
    run = await service.submitted()
    service.kfp.start(run["kfp_run_id"])
    assert await cancel(service, run["run_id"]) == 202
    assert await cancel(service, run["run_id"]) == 202
    await service.cancel()
    assert (await service.run(run["run_id"]))["state"] == "CANCELING"
    for _ in range(3):
        await service.follow()
    terminated = [path for _, path in service.kfp.requests if path.endswith(":terminate")]
    assert len(terminated) == 1
    ended = await service.ended(run, "CANCELED")
    assert (ended["state"], ended["over"], ended["good"]) == ("CANCELED", True, False)


async def test_a_run_that_ended_meanwhile_keeps_its_end(service: Harness) -> None:
    run = await service.submitted()
    assert await cancel(service, run["run_id"]) == 202
    service.kfp.finish(run["kfp_run_id"], "SUCCEEDED")
    await service.follow()
    assert (await service.run(run["run_id"]))["state"] == "SUCCEEDED"
    assert await cancel(service, run["run_id"]) == 202


async def test_a_cancel_of_a_superseded_try_is_refused(service: Harness) -> None:
    run = await service.submitted(None, origin=origin(1))
    await service.submit(None, origin=origin(2))
    assert await cancel(service, run["run_id"], key=run["submission_key"], try_number=1) == 409
    assert await cancel(service, run["run_id"], key=run["submission_key"], try_number=2) == 202


async def test_a_cancel_for_an_earlier_attempt_is_refused(service: Harness) -> None:
    run = await service.submitted(None, origin=origin(1))
    await service.ended(run, "FAILED")
    await service.submitted(None, origin=origin(2))
    assert await cancel(service, run["run_id"], key=run["submission_key"], try_number=2) == 409


async def test_a_backend_that_is_away_is_asked_again(service: Harness) -> None:
    run = await service.submitted()
    service.kfp.start(run["kfp_run_id"])
    await cancel(service, run["run_id"])
    service.kfp.down = True
    await service.cancel()
    service.kfp.down = False
    await service.make_due()
    await service.cancel()
    assert service.kfp.runs[run["kfp_run_id"]]["state"] == "CANCELING"


async def test_a_run_whose_answer_was_lost_is_terminated_when_it_is_found(service: Harness) -> None:
    service.kfp.drop_answer("POST", "/apis/v2beta1/runs")
    run = await service.submitted()
    await cancel(service, run["run_id"])
    await service.make_due()
    await service.send()
    await service.cancel()
    assert service.kfp.runs[run["kfp_run_id"]]["state"] == "CANCELING"


async def test_there_is_no_run_to_cancel(service: Harness) -> None:
    assert await cancel(service, "00000000-0000-0000-0000-000000000000") == 404
