"""The owner's books of a node, and the queues of what waits."""

from __future__ import annotations

from math import inf

import pytest
from owner_words import A, joined, make_task, make_tasks

from meshq.core.accounts import (
    ASKING_BYTES,
    FULL_PAUSE_S,
    PARKED_PAUSE_S,
    Bond,
    NodeAccount,
    WaitingQueue,
    weight_of,
)


def queue(
    function: str = "f", serializer: str = "msgpack", tags: frozenset[str] = frozenset(), *, detached: bool = False
) -> WaitingQueue:
    """Return a queue made at time 0."""
    return WaitingQueue((function, serializer, tags, detached, 5), 0.0)


def test_a_new_node_may_get_two_attempts_a_slot() -> None:
    """Before it grants credit, a node gets twice its slots."""
    account = NodeAccount(joined(slots=3))
    assert (account.cap, account.used, account.room("f", None), account.load()) == (6, 0, 6, 0.0)


@pytest.mark.parametrize("slots", [0, -4])
def test_a_node_has_at_least_one_slot(slots: int) -> None:
    """A node that claims none or fewer is taken to have one, so that its load can be told."""
    assert NodeAccount(joined(slots=slots)).slots == 1


def test_attempts_are_booked_in_and_out() -> None:
    """What is in flight counts against the credit, the function's window and the load."""
    account = NodeAccount(joined(slots=2))
    f, g = make_task(1, "f"), make_task(2, "g")
    account.put(f)
    account.put(g)
    assert (account.used, account.room("f", None), account.load()) == (2, 2, 1.0)
    account.take(f)
    assert account.in_flight == {g.id: g}
    assert (account.used, account.room("f", None)) == (1, 3)


def test_a_run_is_booked_as_its_tasks_would_be() -> None:
    """Several at once come to the same as one after the other."""
    account, other = NodeAccount(joined(slots=2)), NodeAccount(joined(slots=2))
    tasks = make_tasks(3)
    account.put_run(tasks)
    for task in tasks:
        other.put(task)
    assert list(account.in_flight.values()) == list(other.in_flight.values()) == tasks
    assert (account.used, account.used_of) == (other.used, other.used_of) == (3, {"f": 3})


def test_the_small_ones_at_the_head_of_a_queue_go_together() -> None:
    """As many as there is room for, up to the first whose arguments are large; what has ended is dropped."""
    waiting = queue()
    first, ended, second, third, large, last = tasks = make_tasks(6)
    waiting.tasks.extend(tasks)
    ended.node, large.payload = b"", bytes(2_000)
    assert waiting.take_small(2) == [first, second]
    assert waiting.take_small(9) == [third]
    assert waiting.take_small(9) == []
    assert list(waiting.tasks) == [large, last]


def test_the_arguments_in_flight_keep_to_the_bytes_that_the_node_takes() -> None:
    """A first attempt goes whatever its size, and so do small ones; parked and detached ones do not count."""
    account = NodeAccount(joined(slots=2))
    first, second, small = (make_task(number) for number in (1, 2, 3))
    first.payload, second.payload = [bytes(3_000), bytes(5_000)], bytes(2_000)
    account.cap_bytes = 9_000
    assert account.has_room_for(first)
    account.put(first)
    assert not account.has_room_for(second)
    assert account.has_room_for(small)
    account.put(small)
    assert account.used_bytes == 8_000
    account.park(first)
    assert (account.used_bytes, account.has_room_for(second)) == (0, True)
    account.unpark(first)
    assert account.used_bytes == 8_000
    account.cap_bytes = 10_000
    assert account.has_room_for(second)
    account.cap_bytes = 0
    second.payload = bytes(100_000)
    assert account.has_room_for(second)
    account.take(first)
    account.take(small)
    assert account.used_bytes == 0
    account.cap_bytes = 1
    assert account.has_room_for(second)


def test_detached_attempts_take_no_credit() -> None:
    """A detached attempt is in flight, and so part of the load, but beyond credit."""
    account = NodeAccount(joined(slots=2))
    task = make_task(detached=True)
    account.put(task)
    assert (account.used, account.room("f", None), account.load()) == (0, 4, 0.5)
    account.take(task)
    assert (account.used, account.load()) == (0, 0.0)


def books(account: NodeAccount) -> tuple[int, int, int, int]:
    """Return credit in use, the same of f, the parked, and those beyond it that are unanswered."""
    return account.used, account.used_of["f"], account.parked, account.asking // weight_of(make_task())


def test_parked_attempts_take_no_credit() -> None:
    """What the node sets aside frees its credit, counts as load, and takes some anew once it waits for a slot."""
    account, task = NodeAccount(joined(slots=2)), make_task()
    account.put(task)
    assert books(account) == (1, 1, 0, 0)
    for _ in range(2):
        account.accept(task)
        account.park(task)
        assert books(account) == (0, 0, 1, 0)
    assert account.load() == 0.5
    account.unpark(task)
    assert books(account) == (1, 1, 0, 0)
    account.park(task)
    account.take(task)
    assert books(account) == (0, 0, 0, 0)
    assert not task.parked


def test_attempts_sent_to_be_parked_are_counted_until_answered() -> None:
    """However the answer turns out, nothing of them stays in the books."""
    account = NodeAccount(joined(slots=2))
    parked, started, refused = tasks = make_tasks(3)
    for task in tasks:
        task.parked = True
        account.put(task)
    assert books(account) == (0, 0, 3, 3)
    account.accept(parked)
    account.park(parked)
    account.accept(started)
    account.unpark(started)
    account.take(refused)
    assert books(account) == (1, 1, 1, 0)
    account.take(parked)
    account.take(started)
    assert books(account) == (0, 0, 0, 0)


def test_a_detached_attempt_is_not_parked() -> None:
    """It takes no credit anyway, whatever its node says."""
    account, task = NodeAccount(joined()), make_task(detached=True)
    account.put(task)
    assert books(account) == (0, 0, 0, 1)
    account.accept(task)
    account.park(task)
    assert (books(account), task.parked) == ((0, 0, 0, 0), False)
    account.take(task)
    assert books(account) == (0, 0, 0, 0)


def test_attempts_beyond_credit_go_out_as_fast_as_the_node_answers() -> None:
    """Some megabytes are on their way at most, a larger one alone, and one at a time where there was no room."""
    account = NodeAccount(joined())
    large, *rest = tasks = make_tasks(4, detached=True)
    for task in tasks:
        task.payload = bytes(ASKING_BYTES // 3)
    large.payload = bytes(2 * ASKING_BYTES)
    assert account.may_ask(large)
    account.put(large)
    assert not account.may_ask(rest[0])
    account.accept(large)
    for task in rest[:2]:
        assert account.may_ask(task)
        account.put(task)
    assert not account.may_ask(rest[2])
    account.refuse(rest[0], 1.0)
    account.take(rest[0])
    assert not account.may_ask(rest[2])
    account.take(rest[1])
    assert account.may_ask(rest[2])
    account.put(rest[2])
    account.accept(rest[2])
    assert (account.refusals, account.asking) == (0, 0)


def test_a_node_that_goes_on_refusing_detached_tasks_is_left_alone_for_longer() -> None:
    """The pause doubles; refusals of one moment count once, and others than detached tasks are kept for less."""
    account, task = NodeAccount(joined()), make_task(detached=True)
    pauses, now = [], 1.0
    for _ in range(8):
        account.refuse(task, now)
        account.refuse(task, now)
        pauses.append(round(account.detached_until - now, 3))
        now = account.detached_until
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 3.2, 3.2]
    assert account.full_until == -inf
    account.refuse(make_task(), 1.0)
    assert account.full_until == 1.0 + FULL_PAUSE_S


def test_a_node_that_may_park_no_more_is_spared_for_a_moment() -> None:
    """A function that it limits, or all that is delayed, is kept from it for a second."""
    account, task = NodeAccount(joined()), make_task()
    account.pause(task, 1.0)
    assert account.is_paused("f", 1.0)
    assert not account.is_paused("g", 1.0)
    assert not account.is_paused("f", 1.0 + PARKED_PAUSE_S)
    assert (account.paused_until, account.delayed_until) == ({}, -inf)
    task.due_at = 2.0
    account.pause(task, 1.0)
    assert (account.paused_until, account.delayed_until) == ({}, 1.0 + PARKED_PAUSE_S)


def test_room_is_bounded_by_credit_and_by_each_functions_window() -> None:
    """A slow function leaves the room beyond its own window to others."""
    account = NodeAccount(joined(slots=2))
    account.cap = 10
    for task in make_tasks(3, "f"):
        account.put(task)
    assert account.room("f", 1.0) == 0
    assert account.room("g", 1.0) == 3
    assert account.room("g", 0.001) == 7


def test_the_work_of_others_adds_to_the_load() -> None:
    """Load counts all unfinished attempts at the node, per slot."""
    account = NodeAccount(joined(slots=4))
    account.others = 6
    account.put(make_task())
    assert account.load() == 1.75


def test_what_a_node_offers() -> None:
    """A queue's function and serializer must be there, and all of its tags."""
    account = NodeAccount(joined(functions=["f"], serializers=["msgpack", "json"], tags=["gpu", "big"]))
    assert account.can_run(queue())
    assert account.can_run(queue(serializer="json", tags=frozenset({"gpu"})))
    assert not account.can_run(queue("g"))
    assert not account.can_run(queue(serializer="pickle"))
    assert not account.can_run(queue(tags=frozenset({"gpu", "quiet"})))


def test_when_a_node_is_usable() -> None:
    """A node that is suspect, draining or lost gets nothing new; a HELLO-ACK makes it as it says."""
    account = NodeAccount(joined())
    assert account.usable
    account.suspect = True
    assert not account.usable
    account.update(joined())
    assert account.usable
    account.lost_at = 0.0
    assert not account.usable
    account.update(joined(draining=True))
    assert not account.usable
    account.update(joined())
    assert account.usable


def test_a_new_hello_ack_starts_credit_anew() -> None:
    """Its next credit counts whatever its sequence, and nothing is known of others; what is in flight stays."""
    account = NodeAccount(joined(slots=2))
    account.sequence, account.cap, account.others = 7, 100, 50
    account.put(make_task())
    account.update(joined(slots=4, functions=["h"]))
    assert (account.sequence, account.cap, account.others, account.used) == (-1, 8, 0, 1)
    assert account.can_run(queue("h"))
    assert not account.can_run(queue("f"))


def test_the_head_of_a_queue_skips_what_has_ended() -> None:
    """Tasks withdrawn while they waited are dropped when their turn comes."""
    waiting = queue()
    assert waiting.head() is None
    first, second, third = make_tasks(3)
    waiting.tasks.extend((first, second, third))
    assert waiting.head() is first
    first.node = second.node = b""
    assert waiting.head() is third
    third.node = b""
    assert waiting.head() is None
    assert not waiting.tasks


def test_what_is_let_go_is_nobody_s() -> None:
    """It leaves the books of the node, and can be sent out anew."""
    node, task = NodeAccount(joined()), make_task()
    node.put(task)
    task.node, task.accepted, task.recalled = A, True, True
    node.let_go(task)
    assert (node.used, node.in_flight, task.node, task.accepted, task.recalled) == (0, {}, None, False, False)


def test_a_node_comes_first_for_its_own_owner() -> None:
    """While it has a free slot, and where others are no less busy; what is parked there does not count."""
    home, other = (NodeAccount(joined(slots=2, bond=bond)) for bond in (Bond.HOME, Bond.PEER))
    assert home.load() < other.load() == 0.0
    for number in (1, 2):
        home.put(make_task(number))
        other.put(make_task(number))
    assert other.load() - 0.001 < home.load() < other.load() == 1.0
    parked = make_task(3)
    parked.parked = True
    home.put(parked)
    assert home.load() < 1.0
    home.others = 1
    assert home.load() > 1.0


def test_a_peer_gets_what_would_find_its_slots_idle() -> None:
    """Two nodes that are busy would but swap their tasks; a plain client is not so shy."""
    peer, node = (NodeAccount(joined(slots=2, bond=bond)) for bond in (Bond.PEER, Bond.NONE))
    for others, room in ((0, 4), (1, 4), (2, 0), (3, 0)):
        peer.others = node.others = others
        assert (peer.room("f", None), node.room("f", None)) == (room, 4)
