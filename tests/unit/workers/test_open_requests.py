"""Which of a worker's requests hang, and which only wait for their turn or are worked on for nobody."""

from __future__ import annotations

from modelhost.workers.open_requests import OpenRequests
from tests.support.fake_process import FakeRequest


def _open(*requests: FakeRequest) -> OpenRequests:
    found = OpenRequests()
    for request in requests:
        found.add(request)
    return found


def test_a_request_hangs_although_others_are_answered() -> None:
    hanging, talking = FakeRequest(waiting_since=0.0), FakeRequest(waiting_since=0.0, last_received_at=99.0)
    requests = _open(hanging, talking)
    assert requests.stalled(99.0, patience_seconds=100, slots=2) == {}
    assert requests.stalled(100.0, patience_seconds=100, slots=2) == {hanging: 100.0}


def test_a_request_that_stops_in_the_middle_hangs_and_one_that_is_held_up_by_its_client_does_not() -> None:
    stopped, held_up = (
        FakeRequest(waiting_since=0.0, last_received_at=5.0),
        FakeRequest(waiting_since=0.0, last_received_at=5.0, is_paused=True),
    )
    assert _open(stopped, held_up).stalled(105.0, patience_seconds=100, slots=2) == {stopped: 100.0}


def test_the_time_of_a_request_that_waits_for_a_slot_begins_when_one_is_free() -> None:
    waiting, talking = FakeRequest(waiting_since=0.0), FakeRequest(waiting_since=0.0, last_received_at=0.0)
    requests = _open(waiting, talking)
    for now in range(0, 1000, 50):
        talking.last_received_at = float(now)
        assert requests.stalled(float(now), patience_seconds=100, slots=1) == {}
    requests.remove([talking], 1000.0)
    assert requests.stalled(1040.0, patience_seconds=100, slots=1) == {}
    assert requests.stalled(1050.0, patience_seconds=100, slots=1) == {waiting: 100.0}


def test_a_request_hangs_that_others_have_overtaken_and_one_that_is_in_turn_does_not() -> None:
    hanging, before, after = (
        FakeRequest(waiting_since=10.0, sent_at=10.0),
        FakeRequest(waiting_since=5.0, sent_at=5.0, last_received_at=60.0, is_answered=True),
        FakeRequest(waiting_since=20.0, sent_at=20.0, last_received_at=70.0),
    )
    requests = _open(hanging, before, after)
    requests.remove([before], 60.0)
    assert requests.overtaken(200.0, patience_seconds=100) == {}
    requests.remove([after], 70.0)  # refused, or left by its client
    assert requests.overtaken(200.0, patience_seconds=100) == {}
    answered = FakeRequest(waiting_since=30.0, sent_at=30.0, last_received_at=80.0, is_answered=True)
    requests.add(answered)
    requests.remove([answered], 80.0)
    assert requests.overtaken(109.0, patience_seconds=100) == {}
    assert requests.overtaken(110.0, patience_seconds=100) == {hanging: 100.0}


def test_a_request_that_stops_in_the_middle_is_overtaken_by_those_that_are_made_since() -> None:
    stopped = FakeRequest(waiting_since=0.0, last_received_at=50.0)
    earlier, later = (
        FakeRequest(waiting_since=at, sent_at=at, last_received_at=at + 5, is_answered=True) for at in (40.0, 60.0)
    )
    requests = _open(stopped, earlier, later)
    requests.remove([earlier], 45.0)
    assert requests.overtaken(200.0, patience_seconds=100) == {}
    requests.remove([later], 65.0)
    assert requests.overtaken(200.0, patience_seconds=100) == {stopped: 150.0}


def test_work_is_abandoned_until_the_worker_lets_go_of_it() -> None:
    first, second = FakeRequest(waiting_since=0.0), FakeRequest(waiting_since=0.0)
    requests = _open(first, second)
    assert requests.abandoned_seconds(50.0) == 0
    requests.remove([first], 10.0)
    requests.remove([second], 20.0)
    assert requests.abandoned_seconds(50.0) == 40
    first.is_closed = True
    assert requests.abandoned_seconds(50.0) == 30
    second.is_closed = True
    assert requests.abandoned_seconds(50.0) == 0


def test_an_answer_that_has_begun_is_cut_off_and_leaves_no_work() -> None:
    begun = FakeRequest(waiting_since=0.0, last_received_at=1.0)
    requests = _open(begun)
    requests.remove([begun], 10.0)
    assert requests.abandoned_seconds(50.0) == 0


def test_a_worker_may_be_silent_about_some_requests_for_as_long_as_they_take() -> None:
    embedding, after = (
        FakeRequest(waiting_since=0.0),
        FakeRequest(waiting_since=1.0, sent_at=1.0, last_received_at=2.0, is_answered=True),
    )
    requests = _open(after)
    requests.add(embedding, is_silent=True)
    requests.remove([after], 2.0)
    assert requests.silent_seconds(1000.0) is None
    assert requests.stalled(1000.0, patience_seconds=100, slots=1) == {}
    assert requests.overtaken(1000.0, patience_seconds=100) == {}
    requests.remove([embedding], 1000.0)
    assert requests.abandoned_seconds(1100.0) == 100.0


def test_a_request_does_not_hang_behind_one_about_which_its_worker_is_silent() -> None:
    embedding, waiting = FakeRequest(waiting_since=0.0), FakeRequest(waiting_since=0.0)
    requests = _open(waiting)
    requests.add(embedding, is_silent=True)
    assert requests.stalled(1000.0, patience_seconds=100, slots=1) == {}
    requests.remove([embedding], 1000.0)
    assert requests.stalled(1099.0, patience_seconds=100, slots=1) == {}
    assert requests.stalled(1100.0, patience_seconds=100, slots=1) == {waiting: 100.0}
