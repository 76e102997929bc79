"""What is called back from a busy node when another one is idle."""

from __future__ import annotations

import pytest
from conversation import Conversation
from owner_words import DONE, A, B, joined, make_task, make_tasks, result, said, submit

from meshq.core.accounts import NodeAccount
from meshq.core.events import Send
from meshq.core.owned import OwnedTask, TaskState
from meshq.core.owner import Owner, Settle, Submitted
from meshq.core.rebalance import PATIENCE_S, called_back
from meshq.protocol.messages import Accepted, Rack, Result, Started, Withdraw, Withdrawn

LATE = PATIENCE_S + 0.01


def _busy(count: int = 2) -> tuple[NodeAccount, list[OwnedTask]]:
    """Return a node of one slot, its first task started, the others accepted."""
    node = NodeAccount(joined(A, slots=1))
    tasks = make_tasks(count)
    for task in tasks:
        task.accepted = True
        node.put(task)
    tasks[0].state = TaskState.STARTED
    return node, tasks


def _idle(**words: object) -> NodeAccount:
    return NodeAccount(joined(B, slots=1, **words))  # type: ignore[arg-type]


def test_what_waits_goes_where_a_slot_is_free() -> None:
    """As many as there are free slots, and not the one that runs."""
    busy, tasks = _busy(4)
    assert list(called_back([busy, _idle()], LATE)) == [(busy, tasks[1])]


def test_nothing_moves_without_a_free_slot() -> None:
    """Neither with one node alone, nor where the others are as busy."""
    busy, _ = _busy(3)
    assert list(called_back([busy], LATE)) == []
    other, _ = _busy(1)
    other.node = B
    assert list(called_back([busy, other], LATE)) == []


@pytest.mark.parametrize("word", ["withdrawing", "recalled", "detached"])
def test_what_is_on_its_way_elsewhere_stays(word: str) -> None:
    """A task that is being withdrawn or called back already, and one that the node owns, are left alone."""
    busy, tasks = _busy()
    setattr(tasks[1], word, True)
    assert list(called_back([busy, _idle()], LATE)) == []


def test_what_may_have_started_stays() -> None:
    """A task sent a moment ago, and one that the node has not answered, may run as far as is known."""
    busy, tasks = _busy()
    assert list(called_back([busy, _idle()], PATIENCE_S / 2)) == []
    tasks[1].accepted = False
    assert list(called_back([busy, _idle()], LATE)) == []


def test_an_idle_node_must_offer_the_function() -> None:
    """Nothing is fetched for a node that could not run it."""
    busy, _ = _busy()
    assert list(called_back([busy, _idle(functions=("g",))], LATE)) == []


def test_a_task_behind_a_long_one_is_run_by_the_idle_node() -> None:
    """The owner calls it back when nothing waits, says so again until answered, and sends it where it can run."""
    talk = Conversation(Owner())
    first, second = make_task(1), make_task(2)
    talk.say(joined(A, slots=1))
    talk.say(Submitted([first, second]))
    talk.expect(Send(A, [submit(first), submit(second)]))
    talk.say(said(Started(first.id, 1), Accepted(second.id, 1)))
    talk.say(joined(B, slots=1))
    talk.wait(0.4)
    talk.expect(Send(A, [Withdraw(second.id, 1)]))
    talk.wait(1.6)
    talk.expect(Send(A, [Withdraw(second.id, 1)]))
    talk.say(said(Withdrawn(second.id, 1, "dropped")), at=1.7)
    talk.expect(Send(B, [submit(second, 2)]))
    talk.say(said(result(second, 2), by=B), at=1.8)
    talk.expect(Send(B, [Rack(second.id, 2)]), Settle([(second, DONE)]))
    talk.end()


def test_a_task_that_has_started_after_all_is_left_there() -> None:
    """The node's word that it runs ends the attempt to call it back."""
    talk = Conversation(Owner())
    first, second = make_task(1), make_task(2)
    talk.say(joined(A, slots=1))
    talk.say(Submitted([first, second]))
    talk.take()
    talk.say(said(Started(first.id, 1), Accepted(second.id, 1)))
    talk.say(joined(B, slots=1))
    talk.wait(0.4)
    talk.expect(Send(A, [Withdraw(second.id, 1)]))
    talk.say(said(Withdrawn(second.id, 1, "running"), Started(second.id, 1)), at=0.5)
    talk.wait(3.0)
    answer: Result = result(second)
    talk.say(said(answer), at=3.1)
    talk.expect(Send(A, [Rack(second.id, 1)]), Settle([(second, DONE)]))
    talk.end()


# ---------------------------------------------------------------------- parked


def _limited(node: bytes, count: int, first: int = 1, **words: object) -> tuple[NodeAccount, list[OwnedTask]]:
    """Return a node of two slots that has parked tasks for a rate limit."""
    account = NodeAccount(joined(node, **words))  # type: ignore[arg-type]
    tasks = [make_task(first + index) for index in range(count)]
    for task in tasks:
        account.put(task)
        account.accept(task)
        account.park(task)
    return account, tasks


def _moved(*nodes: NodeAccount) -> list[OwnedTask]:
    return [task for _, task in called_back(nodes, LATE)]


def test_what_a_limit_holds_back_goes_to_a_node_that_is_not_held_back() -> None:
    """The last of them, and never more than half."""
    limited, tasks = _limited(A, 9)
    idle = NodeAccount(joined(B))
    assert _moved(limited, idle) == tasks[:4:-1]
    limited, tasks = _limited(A, 3)
    assert _moved(limited, idle) == [tasks[2]]
    for count in (0, 1):
        assert _moved(_limited(A, count)[0], idle) == []


def test_nothing_goes_to_and_fro_between_limits() -> None:
    """A node that has parked some of the function itself gets no more of it."""
    assert _moved(_limited(A, 9)[0], _limited(B, 1, 100)[0]) == []


@pytest.mark.parametrize("why", ["functions", "busy", "recalled", "time"])
def test_what_is_parked_may_have_to_stay(why: str) -> None:
    """No node has the function or a free slot, it is on its way already, or its time has not come."""
    limited, tasks = _limited(A, 6)
    idle = NodeAccount(joined(B, functions=["g"] if why == "functions" else ["f"]))
    if why == "busy":
        idle.others = 2
    for task in tasks:
        task.recalled = why == "recalled"
        task.due_at = 100.0 if why == "time" else None
    assert _moved(limited, idle) == []


def test_parked_attempts_do_not_make_a_node_busy() -> None:
    """Its slots are free for what waits elsewhere, and what is parked waits for no slot."""
    busy, tasks = _busy()
    limited, _ = _limited(B, 5, 100)
    assert _moved(busy, limited) == [tasks[1]]
    both, _ = _limited(B, 2, 100)
    running = make_task(200)
    running.accepted, running.state = True, TaskState.STARTED
    both.put(running)
    assert _moved(both, _busy(1)[0]) == []
