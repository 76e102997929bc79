"""Acknowledgements: when they wait for company, and when they do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from client_harness import unturned_engine

from meshq.client.collecting import BATCH
from meshq.client.engine import HURRY_BYTES, PATIENT_BYTES, Engine
from meshq.core.membership import Candidate, Welcomed
from meshq.protocol.messages import HelloAck, Ping, Rack, Result

NODE = b"n" * 16
ACK = HelloAck(NODE, 1, 1, "n", "host", 1, {}, ["msgpack"], [], [], False)
TASK = b"t" * 16


@pytest.fixture
def flushes(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each flush of the links was one of all that waits."""
    told: list[bool] = []
    monkeypatch.setattr("meshq.transport.links.Links.flush", lambda _, *, all=False: told.append(all))
    return told


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine that knows one node, and that nobody turns."""
    with unturned_engine() as made:
        made.see(Candidate(NODE.hex(), ("tcp://127.0.0.1:9",), (), "", "mdns", "n"))
        made._apply(made.session.notice(Welcomed(1, ACK), 0.0))
        yield made


def test_acknowledgements_of_small_results_wait_for_company(engine: Engine, flushes: list[bool]) -> None:
    """They are not worth waking the node for."""
    engine._on_messages(1, [Result(TASK, 1, 0, "raw", b"x"), Result(TASK, 1, 0, "raw", [bytes(20_000)])])
    engine.step()
    assert flushes == []


@pytest.mark.parametrize("payload", [bytes(PATIENT_BYTES + 1), [bytes(20_000)]])
def test_those_of_larger_results_go_with_the_next_message(engine: Engine, payload: bytes | list[bytes]) -> None:
    """A node with little room starts nothing more of a client that takes it up, and the next task would wait."""
    for result, alone in ((b"x", True), (payload, False), (b"x", True)):
        engine._on_messages(1, [Result(TASK, 1, 0, "raw", result)])
        engine._links.send(1, [Ping(1)])
        assert bool(engine._links._links[1].patient) is alone


def test_those_of_large_results_go_at_once(engine: Engine, flushes: list[bool]) -> None:
    """The node has room for so many bytes of results, and starts nothing more of a client that takes it up."""
    engine._on_messages(1, [Result(TASK, 1, 0, "raw", [bytes(HURRY_BYTES)]), Result(TASK, 1, 0, "raw", b"x")])
    assert Rack(TASK, 1) in engine._links._links[1].patient
    engine.step()
    engine.step()
    assert flushes == [True]


def test_those_of_very_many_results_go_at_once(engine: Engine, flushes: list[bool]) -> None:
    """And with them all that was made of the results, before the collector has a look; then it begins anew."""
    engine._on_dealt_with(BATCH - 1)
    assert flushes == []
    engine._on_dealt_with(1)
    engine._on_dealt_with(1)
    assert flushes == [True]


def test_those_that_wait_go_before_a_bye(engine: Engine, flushes: list[bool]) -> None:
    """After it the node knows the client no more."""
    engine._on_messages(1, [Result(TASK, 1, 0, "raw", b"x")])
    engine.leave()
    assert flushes == [True]
