"""A node among its peers: what it asks and tells them of revoked ids, when it lets others in, whom it names."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from meshq.client.runtime import key_of, make_hello
from meshq.config import Settings, load_settings
from meshq.core import agreeing as module
from meshq.core.events import Received, Send
from meshq.core.holder import Holder
from meshq.core.holding import ClientGreeted, ClientUnreachable, HolderEvent, RevocationsAdded, RevokeAsked
from meshq.core.holding import RevocationsHeard as Heard
from meshq.core.membership import MDNS, Candidate
from meshq.ids import new_id
from meshq.node.entrusted import Entrusted
from meshq.node.listening import Listening, identity
from meshq.node.peering import Peering
from meshq.node.peers import make_session
from meshq.protocol.messages import Bye, Message, RevokedDigest, RevokedIds
from meshq.transport.context import make_context
from meshq.transport.loop import Loop

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16


def now() -> float:
    """Return the time that the machines are told."""
    return time.monotonic()


class Town:
    """Nodes on one loop, which find each other only when told to."""

    def __init__(self, directory: Path) -> None:
        flags = {"mesh": "peering", "slots": 1, "mdns": False}
        self.settings = load_settings(flags, environ={}, cwd=directory)
        self.loop = Loop()
        self.context = make_context()
        self.nodes: list[Citizen] = []

    def node(self, *, is_open: bool = True, **settings: Any) -> Citizen:
        """Make a node; without ``is_open`` it answers nobody so far."""
        made = Citizen(self, f"node-{len(self.nodes)}", settings)
        self.nodes.append(made)
        if is_open:
            made.open()
        return made

    def until(self, condition: Callable[[], Any], timeout: float = 10.0) -> None:
        """Turn the loop until the condition holds."""
        end_at = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end_at, "it did not come to pass"
            self.turn()

    def turn(self) -> None:
        """Let the nodes do what they have to."""
        for node in self.nodes:
            node.step()
        self.loop.turn(0.01)

    def close(self) -> None:
        """Close all that is open."""
        for node in self.nodes:
            node.close()
        self.loop.close()
        self.context.term()


class Citizen:
    """A node without workers: the parts that deal with peers."""

    def __init__(self, town: Town, name: str, settings: dict[str, Any]) -> None:
        self._town = town
        self.holder = Holder(1, b"own client")
        self.known: list[list[Any]] = []
        self.added: list[bytes] = []
        self.heard: list[Message] = []
        self.closed = False
        own: Settings = load_settings({"mesh": "peering", "slots": 1, "mdns": False, **settings}, environ={})
        self.ack = identity(own, name, socket.gethostname(), None, new_id())
        self.listening = Listening(
            town.loop, town.context, own, key_of(own), self.ack,
            on_work=self._on_work, on_command=lambda _: None,
            on_greeted=lambda *greeted: self.take(ClientGreeted(*greeted)),
            on_lost=lambda client: self.take(ClientUnreachable(client)),
        )  # fmt: skip
        hello, session = make_hello("peering", "node"), make_session(self.ack.node, "", now(), random.Random())
        self.entrusted = Entrusted(hello.client, session, lambda _: None)
        self.peering = Peering(
            town.loop, town.context, own, None, hello, self.ack, self.listening.address,
            self.entrusted, self.holder,
            refuse=lambda ids: self.take(Heard(ids)), on_known=self._on_known, on_air=self.listening.go_on_air,
        )  # fmt: skip

    def open(self) -> None:
        """Answer from now on."""
        self.listening.open(self.ack)
        self.peering.peers.opened(now())

    def revoke(self, *tasks: bytes) -> None:
        """Revoke tasks here."""
        self.take(RevokeAsked("token", list(tasks), 0))

    def refused(self) -> list[bytes]:
        """Return what is refused here."""
        return sorted(task for task, _ in self.holder.revoked(time.monotonic()))

    def candidate(self, **changes: Any) -> Candidate:
        """Return what is announced of this node."""
        host, port = self.listening.address
        made = Candidate(
            self.ack.node.hex(), (f"tcp://{host}:{port}",), (), "", MDNS, f"{self.ack.name}@{self.ack.host}"
        )
        return made._replace(**changes)

    def find(self, *others: Citizen) -> None:
        """Let this node find others."""
        for other in others:
            self.peering._see(other.candidate())

    def peers(self) -> set[bytes]:
        """Return the ids of its peers."""
        return set(self.peering.peers.connected())

    def take(self, event: HolderEvent) -> None:
        """Let the holder take an event."""
        for effect in self.holder.handle(event, time.monotonic()):
            if isinstance(effect, Send):
                self.listening.send(effect.peer, effect.messages)
            elif isinstance(effect, RevocationsAdded):
                self.added += [task for task, _ in effect.ids]
                self.peering.peers.tell(effect.ids, now())

    def step(self) -> None:
        """Do what is to be done."""
        if self.closed:
            return
        at, due = self.entrusted.next_deadline(), self.peering.due
        if at is not None and at <= now():
            self.entrusted.tick(now())
        if self.peering.peers.touched or (due is not None and due <= now()):
            self.peering.step()
        self.listening.flush()

    def close(self) -> None:
        """End without a word."""
        if not self.closed:
            self.closed = True
            self.peering.close()
            self.listening.close()

    def _on_known(self, known: list[list[Any]]) -> None:
        self.known = known
        self.listening.name_peers(known)

    def _on_work(self, client: bytes, messages: Sequence[Message]) -> None:
        self.heard += messages
        self.take(Received(client, list(messages)))
        if any(isinstance(message, Bye) for message in messages):
            self.listening.flush()
            self.listening.forget(client)


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Town]:
    """A place without nodes."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    made = Town(tmp_path)
    yield made
    made.close()


def test_nodes_come_to_refuse_the_same(town: Town) -> None:
    """As soon as they are connected, whoever is the client, and whatever each knows that the other does not."""
    first, second = town.node(), town.node()
    first.revoke(A, C)
    second.revoke(B, C)
    second.find(first)
    town.until(lambda: first.refused() == second.refused() == [A, B, C])
    assert (first.added, second.added) == ([A, C, B], [B, C, A])


def test_what_is_revoked_is_told_at_once_and_told_on(town: Town) -> None:
    """Over peers of peers, either way along a connection, and never back."""
    nodes = [town.node() for _ in range(4)]
    for node, other in pairwise(nodes):
        node.find(other)
    town.until(lambda: all(len(node.peers()) == 1 for node in nodes[:3]))
    for number, node in enumerate((nodes[0], nodes[3], nodes[1]), start=1):
        node.revoke(bytes([number]) * 16)
        town.until(lambda number=number: all(len(each.refused()) == number for each in nodes), 2.0)
    assert all(len(node.added) == 3 for node in nodes)


def test_a_node_lets_others_in_once_its_peers_have_told(town: Town) -> None:
    """So that nothing runs there that was revoked before it was there; a peer that has nothing to tell says so."""
    for tasks in ((A, B), ()):
        first, new = town.node(), town.node(is_open=False)
        first.revoke(*tasks)
        new.find(first)
        assert not new.peering.agrees(time.monotonic())
        town.until(lambda new=new: new.peering.agrees(time.monotonic()), 2.0)
        assert new.refused() == list(tasks)


def test_a_node_without_peers_waits_for_nobody(town: Town) -> None:
    """Once it has looked for some; those that have ended do not count."""
    alone = town.node(is_open=False)
    assert not alone.peering.agrees(time.monotonic())
    alone.peering.start()
    town.until(lambda: alone.peering.agrees(time.monotonic()), 2.0)
    gone = town.node()
    gone.close()
    alone.find(gone)
    town.until(lambda: alone.peering.agrees(time.monotonic()), 2.0)


def test_a_peer_that_does_not_answer_is_waited_for(town: Town) -> None:
    """For as long as the node wants to: it is starting itself, or frozen."""
    mute, new = town.node(is_open=False), town.node(is_open=False)
    new.find(mute)
    new.peering.start()
    town.until(lambda: new.peering._found_at is not None)
    for _ in range(20):
        town.turn()
    assert not new.peering.agrees(time.monotonic())


def test_nodes_compare_again_from_time_to_time(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """What got lost on the way is told then."""
    monkeypatch.setattr(module, "SOON_S", 0.05)
    monkeypatch.setattr(module, "EVERY_S", 0.05)
    monkeypatch.setattr("meshq.core.telling.LEAST_S", 0.0)
    first, second = town.node(), town.node()
    second.find(first)
    town.until(lambda: second.peering.peers._agreeing._told)
    for node, task in ((first, A), (second, B)):
        monkeypatch.setattr(node.peering.peers, "tell", lambda *_: None)
        node.holder.handle(RevokeAsked("token", [task], 0), time.monotonic())
    town.until(lambda: first.refused() == second.refused() == [A, B])


def test_what_cannot_be_agreed_upon_is_not_told_over_and_over(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that has no room for our ids has them told once, not all of them every few seconds."""
    first, second = town.node(), town.node()
    second.revoke(A)
    monkeypatch.setattr(first.holder._revocations, "_limit", 0)
    second.find(first)
    town.until(lambda: second.peering.peers._agreeing._tellings)
    for _ in range(3):
        second.peering.peers._agreeing.compare(first.ack.node, now())
    town.until(lambda: sum(isinstance(message, RevokedDigest) for message in first.heard) == 4)
    second.peering.leave()
    town.until(lambda: not second.peering.peers.is_leaving)
    assert sum(isinstance(message, RevokedIds) for message in first.heard) == 1


def test_a_peer_that_answers_a_greeting_is_told_again(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: what was told over the connection before that may have been lost with it."""
    first, second = town.node(), town.node()
    second.revoke(A)
    monkeypatch.setattr(first.holder._revocations, "_limit", 0)
    second.find(first)
    town.until(lambda: sum(isinstance(message, RevokedIds) for message in first.heard) == 1)
    second.peering.peers._agreeing._tellings[first.ack.node]._pause_s = 60.0
    [view] = second.peering.peers.nodes()
    second.peering.peers.receive(view.link, [view.ack], now())
    town.until(lambda: sum(isinstance(message, RevokedIds) for message in first.heard) == 2)


def test_a_peer_that_says_something_else_each_time_is_not_told_all_each_time(town: Town) -> None:
    """Whatever it says, and however often: it knows our ids from the first telling."""
    first, second = town.node(), town.node()
    second.revoke(A)
    second.find(first)
    town.until(second.peers)
    for number in range(50):
        second.peering.peers._agreeing.on_said(first.ack.node, RevokedDigest(bytes([number]) * 16), now())
    town.until(lambda: first.refused() == [A])
    second.peering.leave()
    town.until(lambda: not second.peering.peers.is_leaving)
    assert sum(isinstance(message, RevokedIds) for message in first.heard) <= 2


def test_a_node_names_those_that_it_knows(town: Town) -> None:
    """Its peers by where they answer, others by what they announce, and nobody whose process has ended."""
    node, peer, ended = town.node(), town.node(), town.node()
    ended.close()
    other = peer.candidate(instance="6f" * 16, endpoints=("tcp://127.0.0.1:9",), label="other@host")
    strange = other._replace(instance="73" * 16, key="theirs")
    node.find(peer, ended)
    for candidate in (strange, other._replace(instance="74" * 16, endpoints=("tcp://[fe80::1%eth0]:9",))):
        node.peering.peers.choice.see(candidate)
    town.until(lambda: [each[0] for each in node.known] == [peer.ack.node])
    node.peering._see(other)
    node.peering.peers.choice.ended.clear()
    node.peering.peers.choice.lose(ended.ack.node.hex())
    names = {entry[0]: entry[1:] for entry in node.peering._list()}
    assert names[peer.ack.node] == [f"node-1@{socket.gethostname()}", peer.candidate().endpoints[0]]
    assert names[b"o" * 16] == ["other@host", "tcp://127.0.0.1:9"]
    assert len(names) == 2
    assert node.listening.ack.peers == node.known


def test_so_many_nodes_are_named(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not all of a very large mesh to each client."""
    monkeypatch.setattr("meshq.node.peering.MAX_HINTS", 2)
    node, other = town.node(), town.node()
    for number in range(5):
        node.peering.peers.choice.see(other.candidate(instance=f"{number:032x}"))
    assert len(node.peering._list()) == 2


def test_a_node_does_not_dial_itself(town: Town) -> None:
    """Neither by its own announcement nor by a list of peers that all nodes are given."""
    node, other = town.node(), town.node()
    node.find(node)
    host, port = node.listening.address
    for where in (f"tcp://{host}:{port}", f"tcp://127.0.0.1:{port}"):
        node.peering._see(node.candidate(instance=where, endpoints=(where,), source="static"))
    assert node.peering.peers.choice.known == {}
    _, port = other.listening.address
    where = f"tcp://127.0.0.1:{port}"
    node.peering._see(other.candidate(instance=where, endpoints=(where,), source="static"))
    town.until(lambda: node.peers() == {other.ack.node})


def test_peers_that_the_user_names_are_found(town: Town) -> None:
    """Also where nothing is announced."""
    first = town.node()
    host, port = first.listening.address
    second = town.node(peers=[f"tcp://{host}:{port}"])
    second.peering.start()
    town.until(lambda: second.peers() == {first.ack.node})


def test_a_peer_that_moves_is_followed(town: Town) -> None:
    """What was announced of it first leads nowhere."""
    node, other = town.node(), town.node()
    node.peering._see(other.candidate(endpoints=("tcp://127.0.0.1:9",)))
    town.until(lambda: node.peering.peers._membership.standing(other.ack.node.hex()) == (None, "refused"))
    node.find(other)
    town.until(lambda: node.peers() == {other.ack.node})
    node.peering._lose(other.ack.node.hex())
    town.turn()
    assert node.peers() == {other.ack.node}


def test_a_leave_is_told_to_the_peers(town: Town) -> None:
    """So that they do not keep a place for a node that has ended, nor does it greet them again."""
    first, second = town.node(), town.node()
    second.find(first)
    town.until(second.peers)
    second.peering.leave()
    town.until(lambda: not second.peering.peers.is_leaving)
    assert first.listening._callers._secrets == {}
    assert any(isinstance(message, Bye) for message in first.heard)
    first.close()
    town.until(lambda: not second.peers())
    alone = town.node()
    alone.peering.leave()
    assert not alone.peering.peers.is_leaving
