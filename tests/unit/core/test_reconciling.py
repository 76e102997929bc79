"""What an owner asks nodes about, so that nothing waits for ever."""

from __future__ import annotations

import pytest
from owner_words import A, joined, make_task, make_tasks

from meshq.core import reconciling
from meshq.core.accounts import NodeAccount
from meshq.core.owned import OwnedTask
from meshq.core.reconciling import Reconciling
from meshq.protocol.messages import Holding


def held(*tasks: OwnedTask) -> NodeAccount:
    """Return the account of a node that has accepted these tasks at 0 s, in their first attempt."""
    node = NodeAccount(joined(slots=8))
    for task in tasks:
        task.attempt = 1
        node.put(task)
        node.accept(task)
    return node


def test_what_is_silent_is_asked_for() -> None:
    """From some seconds after it was sent on, and every few seconds."""
    task, asking = make_task(), Reconciling()
    node = held(task)
    task.sent_at = 1.0
    assert asking.ask(node, 5.5) is None
    assert asking.ask(node, 6.5) is None
    assert asking.ask(node, 10.5) == Holding([[task.id, 1]])
    assert asking.ask(node, 12.0) is None
    assert asking.ask(node, 15.5) == Holding([[task.id, 1]])


def test_what_is_not_asked_for() -> None:
    """What was not accepted is sent again anyway; what is detached is the node's."""
    detached, sent = make_task(1, detached=True), make_task(2)
    node = held(detached)
    node.put(sent)
    assert Reconciling().ask(node, 100.0) is None


def test_all_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few at a time, from the beginning again when all have had it."""
    monkeypatch.setattr(reconciling, "MAX_PAIRS", 2)
    tasks, asking = make_tasks(3), Reconciling()
    node = held(*tasks)
    asked = [asking.ask(node, now) for now in (100.0, 200.0, 300.0)]
    first, second, third = ([task.id, 1] for task in tasks)
    assert asked == [Holding([first, second]), Holding([third]), Holding([first, second])]


def test_nodes_are_forgotten() -> None:
    """With the owner's own books of them."""
    asking, node = Reconciling(), held(make_task())
    asking.ask(node, 100.0)
    asking.forget({A: node})
    assert asking.ask(node, 101.0) is None
    asking.forget({})
    assert asking.ask(node, 101.0) is not None
