"""A purge that a node passes on, and tasks that were submitted a moment before."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from client_harness import unturned_engine

from meshq.client.engine import Engine
from meshq.core.membership import Candidate, Welcomed
from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.protocol.messages import HelloAck, Relay

NODE = b"n" * 16
NOWHERE = "tcp://127.0.0.1:9"

Settled = list[tuple[OwnedTask, Outcome]]


@pytest.fixture
def settled() -> Settled:
    """The tasks that have ended."""
    return []


@pytest.fixture
def engine(settled: Settled) -> Iterator[Engine]:
    """An engine that nobody turns, as the node has it that no message gets to."""
    with unturned_engine(settled.extend) as made:
        made.see(Candidate(NODE.hex(), (NOWHERE,), (), "", "mdns", "n"))
        made._apply(
            made.session.notice(
                Welcomed(1, HelloAck(NODE, 1, 1, "n", "host", 1, {}, ["msgpack"], [], [], False)), 0.0
            )
        )
        yield made


def test_a_purge_takes_what_was_submitted_before_it_came(engine: Engine, settled: Settled) -> None:
    """Also what the loop has not looked at yet: to whoever has submitted it, it waits already."""
    engine.submit(OwnedTask(b"t" * 16, "m.f", "msgpack", b""))
    engine._on_messages(1, [Relay(b"p" * 16, "purge", [])])
    assert [outcome.ending for _, outcome in settled] == [Ending.REVOKED]


def test_a_task_that_nothing_was_posted_for_goes_all_the_same(engine: Engine, settled: Settled) -> None:
    """What a signal's handler raises in the midst of ``submit`` must not hold up this task, and all after it."""
    engine._inbox_posted = True  # and it was interrupted
    task = OwnedTask(b"t" * 16, "m.f", "msgpack", b"")
    assert not engine.has(task)
    engine.submit(task)
    assert engine.has(task)
    engine.step()
    assert engine.session.owner.find(task.id) is task
    assert engine.has(task)
    engine.withdraw([task.id])
    assert not engine.has(task)
