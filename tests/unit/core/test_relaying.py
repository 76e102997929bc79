"""What a node passes on of revokes and purges, and to whom."""

from __future__ import annotations

import pytest
from holder_conversation import OWN, A, B, task

from meshq.core import relaying as module
from meshq.core.events import Send
from meshq.core.held import ClientAccount
from meshq.core.holding import HolderEffect, RevocationsAdded
from meshq.core.relaying import Relaying, revoked_pages
from meshq.core.reporting import Reports
from meshq.protocol.messages import Message, Relay, RevokedIds

CTL, PEER, OTHER = b"controller's id!", b"a peer's id.....", b"another peer's i"
COMMAND = b"a command's id.."


class Scene:
    """A node with two clients, a controller, two peers and its own owner."""

    def __init__(self) -> None:
        self.reports = Reports()
        self.effects: list[HolderEffect] = []
        roles = {A: "client", B: "client", CTL: "controller", PEER: "node", OTHER: "node", OWN: "client"}
        self.accounts = {client: ClientAccount(client, 0.0) for client in roles}
        for client, role in roles.items():
            self.accounts[client].role = role
        self.relaying = Relaying(self.accounts, OWN, self.reports, self.effects)

    def told(self) -> dict[bytes, list[Message]]:
        """Return what was said to whom since the last time."""
        return {send.peer: send.messages for send in self.reports.flush() if isinstance(send, Send)}


@pytest.fixture
def scene() -> Scene:
    """A node and whom it knows."""
    return Scene()


def test_a_revoke_goes_to_the_owners_of_tasks(scene: Scene) -> None:
    """To clients and controllers, under the command's id; peers and this node's own owner have other ways."""
    scene.relaying.revoke(COMMAND, [task(1), task(2)])
    relay = Relay(COMMAND, "revoke", [task(1), task(2)])
    assert scene.told() == {A: [relay], B: [relay], CTL: [relay]}


def test_nothing_is_passed_on_to_who_is_out_of_reach_or_leaves(scene: Scene) -> None:
    """Nor is a purge waited for by them."""
    scene.accounts[A].connected = scene.accounts[OTHER].connected = False
    scene.accounts[B].leaving = True
    scene.relaying.revoke(COMMAND, [task(1)])
    assert list(scene.told()) == [CTL]
    assert scene.relaying.purge(COMMAND) == [scene.accounts[CTL]]
    assert scene.told() == {CTL: [Relay(COMMAND, "purge", [])]}
    scene.relaying.refused([(task(1), 9.0)], None)
    assert list(scene.told()) == [PEER]


def test_a_revoke_of_many_goes_in_pages(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is carried out of its own, so each has an id, which any node gives that page."""
    monkeypatch.setattr(module, "PAGE", 2)
    tasks = [task(number) for number in range(5)]
    pages = []
    for node in (scene, Scene()):
        node.relaying.revoke(COMMAND, tasks)
        pages.append(node.told()[A])
    assert pages[0] == pages[1]
    relays = [page for page in pages[0] if isinstance(page, Relay)]
    assert [relay.tasks for relay in relays] == [tasks[:2], tasks[2:4], tasks[4:]]
    assert relays[0].command == COMMAND
    assert len({relay.command for relay in relays}) == 3
    assert {len(relay.command) for relay in relays} == {16}


def test_a_revoke_without_a_command_has_the_id_of_its_tasks(scene: Scene) -> None:
    """What several nodes learn of and pass on is carried out once."""
    ids = []
    for tasks in ([task(1), task(2)], [task(1), task(2)], [task(1)]):
        scene.relaying.revoke(b"", tasks)
        [relay] = scene.told()[A]
        assert isinstance(relay, Relay)
        ids.append(relay.command)
    assert ids[0] == ids[1] != ids[2]
    assert len(ids[0]) == 16


def test_nothing_to_pass_on(scene: Scene) -> None:
    """Nobody hears of no ids."""
    scene.relaying.revoke(COMMAND, [])
    scene.relaying.refused([], None)
    assert (scene.told(), scene.effects) == ({}, [])


def test_ids_that_are_new_are_kept_and_told_to_peers(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """To all nodes that are clients here but the one that told them, in pages."""
    monkeypatch.setattr(module, "PAGE", 2)
    ids = [(task(1), 9.0), (task(2), 8.5), (task(3), 7.0)]
    pages = [RevokedIds([[task(1), 9.0], [task(2), 8.5]]), RevokedIds([[task(3), 7.0]])]
    scene.relaying.refused(ids, None)
    assert scene.told() == {PEER: pages, OTHER: pages}
    scene.relaying.refused(ids, scene.accounts[PEER])
    assert scene.told() == {OTHER: pages}
    assert scene.effects == [RevocationsAdded(ids)] * 2
    assert list(revoked_pages(ids)) == pages
