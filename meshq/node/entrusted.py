"""The node as the owner of the detached tasks that it has accepted, and as a client of its peers for them.

It is a client as any other, by the same session: its own node is reached without a socket, and holds, runs and
reports an attempt of an entrusted task as any other, under the id of the node's own client; so do its peers.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeAlias

from meshq.client.outcomes import error_of
from meshq.core.events import Received
from meshq.core.handing_over import take_up
from meshq.core.holding import (
    Entrust,
    EntrustedDone,
    EntrustedHandedOver,
    EntrustedRetrying,
    EntrustedStarted,
    EntrustedWithdrawn,
    HolderEvent,
)
from meshq.core.membership import MembershipEvent
from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.core.owner import (
    OwnerEvent,
    PurgeAnswered,
    PurgeAsked,
    RetryPlanned,
    Revoked,
    Settle,
    Submitted,
    WithdrawAnswered,
    WithdrawAsked,
)
from meshq.core.owning import HandedOver, HandOverAsked
from meshq.core.session import HOME, SendLink, Session, SessionEffect
from meshq.core.tombs import LIMIT as TOMBS
from meshq.protocol.failures import FAILURE_SERIALIZER, dump_failure
from meshq.protocol.messages import HelloAck, Message, Started, Status

_STATUS = {
    Ending.DONE: Status.OK,
    Ending.FAILURE: Status.FAILURE,
    Ending.REVOKED: Status.REVOKED,
    Ending.EXPIRED: Status.EXPIRED,
    Ending.TIME_LIMIT: Status.TIME_LIMIT,
    Ending.LOST: Status.WORKER_LOST,
}


MAX_ATTEMPTS = TOMBS
"""As many as the holder remembers the copies of."""


LinkEffects: TypeAlias = Callable[[Any, float], None]
"""Who carries out what the session asks for besides, of links and nodes, and when that is."""


class Entrusted:
    """The owner of this node's detached tasks; events for the holder go to ``tell_holder``.

    ``client`` is the id that it goes by, at its own node and at its peers.
    """

    def __init__(self, client: bytes, session: Session, tell_holder: Callable[[HolderEvent], None]) -> None:
        self.client = client
        self.session = session
        self._home = session.home
        self._tell_holder = tell_holder
        self._on_links: LinkEffects = _ignore
        self._clients: dict[bytes, list[bytes]] = {}
        """Task → the clients that entrusted it: several where they give a task the same id; it runs once."""
        self._purges: dict[bytes, Callable[[int], None]] = {}
        """Command → who is to be told how many tasks a purge has discarded."""
        self._attempts: OrderedDict[bytes, int] = OrderedDict()
        """Task → its last attempt, of those over: one that comes back is not to be taken for its old copy."""

    # ------------------------------------------------------------------ the nodes

    def connect(self, on_links: LinkEffects) -> None:
        """Have what concerns links and other nodes carried out by ``on_links``, from now on."""
        self._on_links = on_links

    def join(self, ack: HelloAck, now: float) -> None:
        """Learn what this node offers."""
        self._apply(self.session.join_home(ack, now), now)

    def notice(self, event: MembershipEvent, now: float) -> None:
        """Take an event of a link or a candidate."""
        self._apply(self.session.notice(event, now), now)

    def say(self, node: bytes, messages: list[Message], now: float) -> None:
        """Tell a peer something, if it answers."""
        self._apply(self.session.say(node, messages), now)

    def receive(self, link: int, messages: list[Message], now: float) -> None:
        """Take what the holder (``HOME``), or a peer, says to this client."""
        for message in messages:
            if type(message) is Started:
                self._on_started(link, message)
        self._apply(self.session.receive(link, messages, now), now)

    def is_elsewhere(self, task: bytes) -> bool:
        """Whether a peer was last sent the task, rather than this node."""
        owned = self.session.owner.find(task)
        return owned is not None and owned.node not in (None, self._home)

    # ------------------------------------------------------------------ the tasks

    def take_over(self, entrust: Entrust, now: float) -> None:
        """Own a task from now on."""
        clients = self._clients.setdefault(entrust.task, [])
        if entrust.client not in clients:
            clients.append(entrust.client)
        task = OwnedTask(
            entrust.task, entrust.function, entrust.serializer, entrust.payload, options=entrust.options,
            tags=frozenset((entrust.options or {}).get("tags", ())),
        )  # fmt: skip
        task.attempt = self._attempts.pop(entrust.task, 0)
        take_up(task)
        self._handle(Submitted([task]), now)

    def withdraw(self, task: bytes, now: float) -> None:
        """Withdraw a task that its client wants back."""
        self._handle(WithdrawAsked([task]), now)

    def revoke(self, tasks: list[bytes], now: float) -> None:
        """End those of the tasks that wait."""
        self._handle(Revoked(tasks), now)

    def purge(self, command: bytes, answer: Callable[[int], None], now: float) -> None:
        """Discard what has not started; ``answer`` is called with the number, within half a second or so."""
        self._purges[command] = answer
        self._handle(PurgeAsked(command), now)

    def hand_over(self, tasks: list[bytes], now: float) -> None:
        """Let peers own those of the tasks that have not started, as far as they can take them."""
        self._handle(HandOverAsked(tasks, self._home), now)

    def stranded(self) -> frozenset[bytes]:
        """Return the tasks that no peer could run."""
        return self.session.owner.stranded(self._home)

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due."""
        return self.session.next_deadline()

    def tick(self, now: float) -> None:
        """Do what has become due."""
        self._apply(self.session.tick(now), now)

    # ------------------------------------------------------------------ what becomes of them

    def _handle(self, event: OwnerEvent, now: float) -> None:
        self._apply(self.session.handle(event, now), now)

    def _apply(self, effects: list[SessionEffect], now: float) -> None:
        for effect in effects:
            match effect:
                case SendLink(link, messages) if link == HOME:
                    self._tell_holder(Received(self.client, messages))
                case Settle(ended):
                    for task, outcome in ended:
                        self._settle(task, outcome)
                case WithdrawAnswered(task_id, withdrawn, deaths):
                    clients = self._clients.pop(task_id, ()) if withdrawn else self._clients.get(task_id, ())
                    for client in clients:
                        self._tell_holder(EntrustedWithdrawn(client, task_id, withdrawn, deaths))
                case RetryPlanned(task_id, seconds):
                    self._on_retry(task_id, seconds)
                case PurgeAnswered(command, discarded):
                    self._purges.pop(command)(discarded)
                case HandedOver(tasks):
                    for task in tasks:
                        self._on_handed_over(task)
                case _:
                    self._on_links(effect, now)

    def _on_retry(self, task_id: bytes, seconds: float) -> None:
        task = self.session.owner.find(task_id)
        retries = 0 if task is None else task.retries
        for client in self._clients.get(task_id, ()):
            self._tell_holder(EntrustedRetrying(client, task_id, seconds, retries))

    def _on_started(self, link: int, message: Started) -> None:
        task = self.session.owner.find(message.task)
        if task is None or (task.node, task.attempt) != (self.session.node_of(link), message.attempt):
            return  # that attempt is over
        for client in self._clients.get(message.task, ()):
            self._tell_holder(EntrustedStarted(client, message.task, message.seconds))

    def _on_handed_over(self, task: OwnedTask) -> None:
        self._let_go(task)
        for client in self._clients.pop(task.id):
            self._tell_holder(EntrustedHandedOver(client, task.id))

    def _let_go(self, task: OwnedTask) -> None:
        if len(self._attempts) >= MAX_ATTEMPTS:
            self._attempts.popitem(last=False)
        self._attempts[task.id] = task.attempt

    def _settle(self, task: OwnedTask, outcome: Outcome) -> None:
        self._let_go(task)
        if outcome.ending is Ending.CANCELLED:
            return  # it was withdrawn: the answer to that, which came before this, has told the holder
        status, serializer, payload = _STATUS.get(outcome.ending), outcome.serializer, outcome.payload
        if status is Status.WORKER_LOST:
            payload = outcome.text.encode()
        elif status is None:
            # The client must not try again what has been tried as often as it may be.
            status, serializer, payload = Status.FAILURE, FAILURE_SERIALIZER, dump_failure(error_of(task, outcome))
        for client in self._clients.pop(task.id):
            self._tell_holder(EntrustedDone(client, task.id, status, serializer, payload))


def _ignore(effect: Any, now: float) -> None:
    """Nobody is there yet who has links."""
