"""When a client believes that it sees all nodes: those that answer name the others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from client_harness import unturned_engine

from meshq.client import engine as module
from meshq.client.engine import Engine
from meshq.client.runtime import BROWSED_S, Runtime
from meshq.core.membership import Candidate, LinkRefused, Welcomed
from meshq.protocol.messages import HelloAck

NOWHERE = "tcp://127.0.0.1:9"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An engine that has seen nothing; what it dials is refused, which it does not hear of as nobody turns it."""
    monkeypatch.setattr(module, "ALONE_S", 60.0)
    with unturned_engine() as made:
        yield made


def welcome(engine: Engine, name: str, *others: str) -> None:
    """Let a node answer that knows others."""
    node = name.encode() * 16
    engine.see(Candidate(node.hex(), (NOWHERE + str(ord(name)),), (), "", "mdns", name))
    [link] = [number for number, each in engine.session.membership._dialling._links.items()
              if each.entry.candidate.instance == node.hex()]  # fmt: skip
    peers = [[other.encode() * 16, other, NOWHERE + str(ord(other))] for other in others]
    ack = HelloAck(node, 1, 1, name, "host", 1, {}, ["msgpack"], [], peers, False)
    engine._apply(engine.session.notice(Welcomed(link, ack), time.monotonic()))


def test_all_are_there_once_those_named_answer(engine: Engine) -> None:
    """With nobody there is nobody to believe; and who is named and has ended is not waited for."""
    assert not engine.is_complete()
    welcome(engine, "a", "b", "c")
    assert not engine.is_complete()
    assert [each.name for each in engine.absent()] == ["b", "c"]
    welcome(engine, "b", "a", "c")
    assert not engine.is_complete()
    engine._apply(engine.session.notice(LinkRefused(3), time.monotonic()))
    assert engine.is_complete()


def test_a_lone_node_is_believed_after_a_while(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have just been started, and know nobody yet."""
    welcome(engine, "a")
    assert not engine.is_complete()
    monkeypatch.setattr(module, "ALONE_S", 0.0)
    assert engine.is_complete()


@pytest.mark.parametrize(
    ("peers", "mdns", "age", "complete"),
    [
        ((NOWHERE,), True, 0.0, False),
        ((NOWHERE,), True, BROWSED_S + 60.0, True),
        ((NOWHERE,), False, 0.0, True),
        ((), True, 0.0, True),
    ],
)
def test_who_was_named_by_the_user_may_not_know_who_is_announced(
    peers: tuple[str, ...], mdns: bool, age: float, complete: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where both are looked for, both get their time."""
    runtime: Any = SimpleNamespace(
        settings=SimpleNamespace(peers=peers, mdns=mdns),
        started_at=1000.0,
        engine=SimpleNamespace(is_complete=lambda: True),
    )
    monkeypatch.setattr("meshq.client.runtime.time.monotonic", lambda: 1000.0 + age)
    assert Runtime.is_complete(runtime) is complete
