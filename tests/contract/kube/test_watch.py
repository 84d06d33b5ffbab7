"""List-and-watch: what is told, and that nothing which happens to a connection loses a change for good."""

from __future__ import annotations

import json
import time
import tracemalloc
from dataclasses import replace
from uuid import uuid4

import pytest

from bridge.kube.access import KubeApi
from bridge.kube.errors import KubeError, KubeGone
from bridge.kube.workflows import MAX_LINE_BYTES, UnreadableLine, lines, read_event
from tests.contract.kube.conftest import QUICK, Watching, eventually
from tests.support.fake_kubernetes import FakeKubernetes


def _phases_end_with(listener: object, *phases: str) -> bool:
    return tuple(listener.phases()[-len(phases) :]) == phases  # type: ignore[attr-defined]


def test_what_is_there_is_listed_and_what_changes_is_told(
    cluster: FakeKubernetes, watching: Watching
) -> None:
    there, later = uuid4(), uuid4()
    cluster.add_workflow(there)
    cluster.add_workflow(uuid4(), namespace="elsewhere")
    listener = watching()
    assert [(one.kfp_run_id, one.listed, one.finished) for one in listener.changes] == [(there, True, False)]
    cluster.add_workflow(later, phase="Pending")
    cluster.set_phase(later, "Running")
    # A step moved on: the phase is the same, so nothing is told.
    cluster.set_nodes(later, {"id": "a", "phase": "Running"})
    cluster.set_phase(there, "Succeeded")
    cluster.set_phase(there, "Succeeded", stored=True)
    cluster.delete_workflow(later)
    eventually(lambda: len(listener.changes) >= 6, "all is told")
    told = [(one.kfp_run_id, one.phase, one.finished, one.stored, one.gone) for one in listener.changes[1:]]
    assert told == [
        (later, "Pending", False, False, False),
        (later, "Running", False, False, False),
        (there, "Succeeded", True, False, False),
        (there, "Succeeded", True, True, False),
        (later, "Running", False, False, True),
    ]
    assert not any(one.listed for one in listener.changes[1:])


def test_only_metadata_of_kfps_workflows_is_asked_for(cluster: FakeKubernetes, watching: Watching) -> None:
    watching()
    for asked in [one for one in cluster.asked if one.resource == "workflows"]:
        assert asked.query["labelSelector"] == "pipeline/runid"
        assert asked.accept.startswith("application/json;as=PartialObjectMetadata")
        assert asked.namespace == "kubeflow"
    assert cluster.asked[-1].query["allowWatchBookmarks"] == "true"


def test_whole_objects_are_understood_too(cluster: FakeKubernetes, watching: Watching) -> None:
    cluster.whole_objects = True
    run = uuid4()
    listener = watching()
    cluster.add_workflow(run)
    cluster.set_phase(run, "Failed")
    eventually(lambda: listener.phases() == ["Running", "Failed"], "both phases")


def test_one_watch_serves_the_whole_cluster(cluster: FakeKubernetes, watching: Watching) -> None:
    listener = watching(None)
    for namespace in ("team-a", "team-b"):
        cluster.add_workflow(uuid4(), namespace=namespace)
    eventually(lambda: len(listener.changes) == 2, "both namespaces")
    assert {one.namespace for one in cluster.asked} == {""}


def test_a_long_list_is_read_in_pages(
    cluster: FakeKubernetes, watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.kube.watch._PAGE_SIZE", 10)
    runs = {uuid4() for _ in range(35)}
    for run in runs:
        cluster.add_workflow(run)
    listener = watching()
    assert {one.kfp_run_id for one in listener.changes} == runs
    assert cluster.count("list") == 4


def test_a_watch_that_ends_goes_on_where_it_stopped(cluster: FakeKubernetes, watching: Watching) -> None:
    run = uuid4()
    listener = watching(timing=replace(QUICK, watch_seconds=1))
    cluster.add_workflow(run)
    eventually(lambda: cluster.count("watch") >= 2, "a second watch")
    cluster.set_phase(run, "Succeeded")
    eventually(lambda: listener.phases() == ["Running", "Succeeded"], "each phase once")
    assert cluster.count("list") == 1
    assert listener.watch is not None
    assert listener.watch.health.restarts == 0


def test_bookmarks_move_the_version_on(cluster: FakeKubernetes, watching: Watching) -> None:
    for _ in range(3):
        cluster.add_workflow(uuid4(), namespace="elsewhere")
    listener = watching()
    eventually(lambda: listener.watch and listener.watch.health.last_heard_at, "a bookmark")
    cluster.add_workflow(uuid4(), namespace="elsewhere")
    cluster.drop_watches()
    eventually(lambda: cluster.count("watch") >= 2, "a second watch")
    eventually(lambda: cluster.open_watches == 1, "it is open")
    cluster.compact()
    cluster.drop_watches()
    # The last bookmark was newer than what was compacted, or else one list makes up for it.
    eventually(lambda: cluster.open_watches == 1, "it is open again")
    run = uuid4()
    cluster.add_workflow(run)
    eventually(lambda: [one.kfp_run_id for one in listener.changes] == [run], "the change is told")


@pytest.mark.parametrize("how", ["status", "event"])
def test_an_expired_version_is_followed_by_a_list(
    cluster: FakeKubernetes, watching: Watching, how: str
) -> None:
    stays, ends, goes = uuid4(), uuid4(), uuid4()
    for run in (stays, ends, goes):
        cluster.add_workflow(run)
    listener = watching()
    cluster.trouble(*(["hang"] if how == "status" else ["hang", "gone-event"]))
    cluster.drop_watches()
    eventually(lambda: cluster.open_watches == 1, "a watch that hears nothing")
    cluster.set_phase(ends, "Failed")
    cluster.delete_workflow(goes)
    if how == "status":
        cluster.compact()
    del listener.changes[:]
    cluster.drop_watches()
    eventually(lambda: len(listener.changes) == 2, "what was missed")
    told = {(one.kfp_run_id, one.finished, one.gone, one.listed) for one in listener.changes}
    assert told == {(ends, True, False, True), (goes, False, True, True)}
    assert cluster.count("list") == 2
    eventually(lambda: listener.watch and listener.watch.health.healthy_since, "the watch is up again")


@pytest.mark.parametrize("trouble", ["cut", "500", "error-event", "garbage", "end"])
def test_whatever_happens_to_a_connection_no_change_is_lost(
    cluster: FakeKubernetes, watching: Watching, trouble: str
) -> None:
    run = uuid4()
    listener = watching()
    cluster.trouble(trouble, trouble)
    cluster.drop_watches()
    cluster.add_workflow(run)
    cluster.set_phase(run, "Running")
    cluster.set_phase(run, "Succeeded")
    eventually(lambda: listener.phases()[-1:] == ["Succeeded"], f"the end, after {trouble}")
    assert listener.watch is not None
    if trouble == "garbage":
        assert listener.watch.health.unreadable >= 4
    if trouble in ("cut", "500", "error-event"):
        assert listener.watch.health.restarts >= 1
    eventually(lambda: listener.watch and listener.watch.health.healthy_since, "the watch is up again")


def test_a_connection_that_hangs_is_given_up(cluster: FakeKubernetes, watching: Watching) -> None:
    cluster.trouble("hang")
    run = uuid4()
    # The server would keep it open for as long again: nobody ends it but the reader.
    listener = watching(timing=replace(QUICK, watch_seconds=1, read_grace_seconds=-0.5))
    cluster.add_workflow(run)
    eventually(lambda: listener.phases() == ["Running"], "the change is told")
    assert listener.watch is not None
    assert "timed out" in str(listener.watch.health.last_error or "timed out").lower()


def test_a_server_that_ends_every_watch_at_once_is_not_asked_without_pause(
    cluster: FakeKubernetes, watching: Watching
) -> None:
    cluster.trouble(*["end"] * 1000)
    began = time.monotonic()
    watching(timing=replace(QUICK, first_backoff_seconds=0.1, longest_backoff_seconds=1.0))
    eventually(lambda: time.monotonic() - began > 1.0, "a second")
    # Each is 0.1 s and more after the one before.
    assert cluster.count("watch") <= 1 + (time.monotonic() - began) / 0.08


def test_a_rotated_token_is_read_again(cluster: FakeKubernetes, watching: Watching, api: KubeApi) -> None:
    access = api._access
    assert access.kubeconfig is not None
    cluster.tokens = {"old"}
    cluster.write_kubeconfig(access.kubeconfig, token="old")
    listener = watching()
    cluster.write_kubeconfig(access.kubeconfig, token="new")
    cluster.tokens = {"new"}
    cluster.drop_watches()
    run = uuid4()
    cluster.add_workflow(run)
    eventually(lambda: listener.phases() == ["Running"], "the change is told")
    assert listener.watch is not None
    assert listener.watch.health.restarts == 0
    assert [one.token for one in cluster.asked][-1] == "new"


def test_a_token_that_stays_refused_is_tried_with_pauses(cluster: FakeKubernetes, watching: Watching) -> None:
    cluster.tokens = {"another"}
    listener = watching(up=False)
    assert listener.watch is not None
    health = listener.watch.health
    eventually(lambda: health.restarts >= 2, "it was refused", 30)
    assert "401" in str(health.last_error)
    assert health.healthy_since is None
    assert health.off_because is None
    cluster.tokens = set()
    eventually(lambda: health.healthy_since, "the watch is up")


def test_without_the_right_it_is_off_and_says_why(cluster: FakeKubernetes, watching: Watching) -> None:
    cluster.allowed -= {("watch", "workflows")}
    listener = watching(up=False)
    assert listener.watch is not None
    health = listener.watch.health
    eventually(lambda: health.off_because, "it is off", 30)
    assert 'cannot watch resource "workflows"' in str(health.off_because)
    assert listener.calls >= 1
    cluster.allowed |= {("watch", "workflows")}
    eventually(lambda: health.healthy_since and health.off_because is None, "the Role was corrected")


def test_without_argo_it_is_off_and_says_why(cluster: FakeKubernetes, watching: Watching) -> None:
    cluster.has_argo = False
    listener = watching(up=False)
    assert listener.watch is not None
    health = listener.watch.health
    eventually(lambda: health.off_because, "it is off", 30)
    assert "404" in str(health.off_because)


def test_nothing_but_run_id_and_phase_is_kept(cluster: FakeKubernetes, watching: Watching) -> None:
    cluster.whole_objects = True
    listener = watching()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(50):
            cluster.add_workflow(uuid4())
        eventually(lambda: len(listener.changes) == 50, "all are told")
        assert listener.watch is not None
        kept = listener.watch._known.phases
        assert len(kept) == 50
        assert not any(hasattr(one, "manifest") for one in kept.values())
        assert len(json.dumps([str(one) for one in kept.values()])) < 50 * 300
        after, _ = tracemalloc.get_traced_memory()
        assert after - before < 2_000_000
    finally:
        tracemalloc.stop()
    for change in list(listener.changes):
        cluster.set_phase(change.kfp_run_id, "Succeeded", stored=True)
    eventually(lambda: not kept, "what has ended is forgotten")


def test_lines_are_bounded_and_the_unfinished_one_is_left_out() -> None:
    assert list(lines([b'{"a"', b":1}\n{", b'"b":2}\n\n{"cut"'])) == [b'{"a":1}', b'{"b":2}']
    long = b"x" * (MAX_LINE_BYTES + 1)
    first, second = list(lines([long, b"more\n", b'{"c":3}\n']))
    assert len(first) == 100
    assert second == b'{"c":3}'


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"null", b'{"type":"ADDED"}', b'{"type":"ADDED","object":[]}', b"[" * 100_000]
)
def test_a_line_that_is_no_event_is_told_as_such(line: bytes) -> None:
    with pytest.raises(UnreadableLine):
        read_event(line)


def test_an_error_event_is_an_error() -> None:
    with pytest.raises(KubeGone):
        read_event(b'{"type":"ERROR","object":{"reason":"Expired","message":"too old"}}')
    with pytest.raises(KubeError):
        read_event(b'{"type":"ERROR","object":{"code":500}}')
