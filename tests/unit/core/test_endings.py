"""How a held attempt ends at a node: its result kept until it is acknowledged, and no copy of it run again."""

from __future__ import annotations

import pytest
from holder_conversation import A, rack, result, task

from meshq.core.endings import Endings, asks_for_more
from meshq.core.events import Send
from meshq.core.held import NODE, ClientAccount, Held, HeldState
from meshq.core.kept import Kept
from meshq.core.reporting import Reports
from meshq.protocol.messages import Result, Status


class Scene:
    """One attempt of one client."""

    def __init__(self) -> None:
        self.reports = Reports()
        self.kept = Kept()
        self.endings = Endings(self.reports, self.kept)
        self.client = ClientAccount(A, 0.0)
        self.held = Held(self.client, task(1), 2, "f", "msgpack", b"x", False, None)
        self.client.held[task(1)] = self.held

    def end(self) -> None:
        """Let the attempt end with a value."""
        self.endings.end(self.held, Status.OK, "msgpack", b"value", 0.03, 1.0)

    def found(self) -> Result | None:
        """Return what is kept for whoever asks."""
        return self.kept.find(task(1), 1.0)

    def is_over(self, attempt: int = 2) -> bool:
        """Return whether a copy of the attempt would be ignored."""
        return self.endings.tombs.covers(A, task(1), attempt)


@pytest.fixture
def scene() -> Scene:
    """An attempt with the number 2."""
    return Scene()


VALUE = result(1, 2)._replace(seconds=0.0)


def test_a_result_waits_until_it_is_acknowledged(scene: Scene) -> None:
    """From then on it is kept for whoever asks, and the attempt is over; a second RACK changes nothing."""
    scene.end()
    assert scene.reports.flush() == [Send(A, [result(1, 2)])]
    assert (scene.held.state, scene.is_over(), scene.found()) == (HeldState.DONE, False, None)
    for _ in range(2):
        scene.endings.on_racks(scene.client, [rack(1, 2)], 1.0)
        assert (scene.client.held, scene.client.unacknowledged, scene.is_over()) == ({}, {}, True)
        assert scene.found() == VALUE


def test_the_acknowledgement_of_another_attempt_does_not_count(scene: Scene) -> None:
    """The result stays."""
    scene.end()
    scene.endings.on_racks(scene.client, [rack(1, 1)], 1.0)
    assert task(1) in scene.client.unacknowledged


def test_an_attempt_that_is_not_taken(scene: Scene) -> None:
    """It is no more, and a copy of it is not to be taken either; it is not over, as one that has run."""
    scene.endings.refuse(scene.held)
    assert (scene.client.held, scene.is_over(), scene.found()) == ({}, False, None)
    assert scene.endings.refused.covers(A, task(1), 2)
    assert not scene.endings.refused.covers(A, task(1), 3)


def test_nobody_hears_of_the_end_where_the_client_has_left(scene: Scene) -> None:
    """No result is sent, but it is kept for whoever asks."""
    scene.client.leaving = True
    scene.end()
    assert (scene.reports.flush(), scene.client.held, scene.is_over()) == ([], {}, True)
    assert scene.found() == VALUE


def test_a_client_leaves_a_result_behind(scene: Scene) -> None:
    """One that it has not acknowledged is not sent again, and kept for whoever asks."""
    scene.end()
    scene.endings.leave(scene.held, 1.0)
    assert (scene.client.held, scene.client.unacknowledged, scene.is_over()) == ({}, {}, True)
    assert scene.found() == VALUE


def test_of_an_attempt_that_has_no_result_none_is_kept(scene: Scene) -> None:
    """Nor is anything else done to it."""
    scene.endings.keep(scene.held, 1.0)
    assert (scene.found(), scene.client.held) == (None, {task(1): scene.held})


@pytest.mark.parametrize(
    ("status", "known"), [(Status.OK, Status.OK), (Status.REVOKED, Status.REVOKED), (Status.WORKER_LOST, None)]
)
def test_an_end_is_known_while_it_is_kept(scene: Scene, status: Status, known: Status | None) -> None:
    """That its worker was lost is not the end of a task, which may be tried again."""
    assert scene.endings.status_of(task(1), 1.0) is None
    scene.endings.end(scene.held, status, "", b"", 0.0, 1.0)
    scene.endings.leave(scene.held, 1.0)
    assert scene.endings.status_of(task(1), 1.0) == known


def test_what_is_forgotten_is_never_run_and_what_is_dropped_may_come_again(scene: Scene) -> None:
    """The two ways to let go of an attempt; a later attempt is new work in either case."""
    scene.endings.drop(scene.held)
    assert (scene.client.held, scene.is_over()) == ({}, False)
    scene.client.held[task(1)] = scene.held
    scene.endings.forget(scene.held)
    assert (scene.client.held, scene.is_over(), scene.is_over(3)) == ({}, True, False)


def test_a_result_that_asks_for_another_try_is_not_kept(scene: Scene) -> None:
    """It is sent until it is acknowledged, and is no answer for whoever asks what became of the task."""
    scene.endings.end(scene.held, Status.RETRY, "msgpack", b"asked", 0.02, 1.0)
    assert scene.reports.flush() == [Send(A, [Result(task(1), 2, Status.RETRY, "msgpack", b"asked", 0.02)])]
    scene.endings.on_racks(scene.client, [rack(1, 2)], 1.0)
    assert (scene.found(), scene.is_over()) == (None, True)


@pytest.mark.parametrize(
    ("role", "detached", "kept"), [("client", False, True), (NODE, False, False), (NODE, True, True)]
)
def test_a_worker_lost_at_a_peer_is_not_the_end_of_a_task(
    scene: Scene, role: str, detached: bool, kept: bool
) -> None:
    """The node that owns it tries it again, and says itself where it gives up; unless it has handed it over."""
    scene.client.role, scene.held.detached = role, detached
    scene.endings.end(scene.held, Status.WORKER_LOST, "", b"", 0.0, 1.0)
    scene.endings.on_racks(scene.client, [rack(1, 2)], 1.0)
    assert (scene.found() is not None) is kept
    assert asks_for_more(scene.held) is not kept


def test_what_has_not_ended_asks_for_nothing(scene: Scene) -> None:
    """It has no result yet."""
    assert not asks_for_more(scene.held)


@pytest.mark.parametrize("acknowledged", [True, False])
def test_what_a_large_result_takes_up_is_given_back(scene: Scene, acknowledged: bool) -> None:
    """When it is acknowledged, or let go of."""
    scene.endings.end(scene.held, Status.OK, "msgpack", bytes(5_000), 0.02, 1.0)
    assert scene.reports.budget.results == 5_000
    if acknowledged:
        scene.endings.on_racks(scene.client, [rack(1, 2)], 1.0)
    else:
        scene.endings.forget(scene.held)
    assert scene.reports.budget.results == 0
