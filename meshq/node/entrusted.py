"""The node as the owner of the detached tasks that it has accepted.

It runs an owner of its own, whose one node is this one: an attempt of an entrusted task is held, run and
reported as any other, under the node's own client id.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Callable
from typing import assert_never

from meshq.client.outcomes import error_of
from meshq.core.accounts import NodeJoined
from meshq.core.events import Received, Send
from meshq.core.holding import (
    Entrust,
    EntrustedDone,
    EntrustedRetrying,
    EntrustedStarted,
    EntrustedWithdrawn,
    HolderEvent,
)
from meshq.core.owned import Ending, Outcome, OwnedTask
from meshq.core.owner import (
    Owner,
    OwnerEffect,
    PurgeAnswered,
    PurgeAsked,
    RetryPlanned,
    Revoked,
    Settle,
    Submitted,
    WithdrawAnswered,
    WithdrawAsked,
)
from meshq.core.tombs import LIMIT as TOMBS
from meshq.protocol.failures import dump_failure
from meshq.protocol.messages import Message, Started, Status

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


class Entrusted:
    """The owner of this node's detached tasks; events for the holder go to ``tell_holder``."""

    def __init__(
        self,
        client: bytes,
        now: float,
        tell_holder: Callable[[HolderEvent], None],
        rng: random.Random | None = None,
    ) -> None:
        self.client = client
        self._owner = Owner(now=now, rng=rng or random.Random())
        self._tell_holder = tell_holder
        self._clients: dict[bytes, list[bytes]] = {}
        """Task → the clients that entrusted it: several where they give a task the same id; it runs once."""
        self._purges: dict[bytes, Callable[[int], None]] = {}
        """Command → who is to be told how many tasks a purge has discarded."""
        self._attempts: OrderedDict[bytes, int] = OrderedDict()
        """Task → its last attempt, of those over: one that comes back is not to be taken for its old copy."""

    def join(self, node: NodeJoined, now: float) -> None:
        """Learn what this node offers."""
        self._apply(self._owner.handle(node, now))

    def take_over(self, entrust: Entrust, now: float) -> None:
        """Own a task from now on."""
        clients = self._clients.setdefault(entrust.task, [])
        if entrust.client not in clients:
            clients.append(entrust.client)
        task = OwnedTask(
            entrust.task, entrust.function, entrust.serializer, entrust.payload, options=entrust.options
        )
        task.attempt = self._attempts.pop(entrust.task, 0)
        self._apply(self._owner.handle(Submitted([task]), now))

    def withdraw(self, task: bytes, now: float) -> None:
        """Withdraw a task that its client wants back."""
        self._apply(self._owner.handle(WithdrawAsked([task]), now))

    def revoke(self, tasks: list[bytes], now: float) -> None:
        """End those of the tasks that wait."""
        self._apply(self._owner.handle(Revoked(tasks), now))

    def purge(self, command: bytes, answer: Callable[[int], None], now: float) -> None:
        """Discard what has not started; ``answer`` is called with the number, within half a second or so."""
        self._purges[command] = answer
        self._apply(self._owner.handle(PurgeAsked(command), now))

    def receive(self, node: bytes, messages: list[Message], now: float) -> None:
        """Take what the holder says to its own client."""
        for message in messages:
            if isinstance(message, Started):
                for client in self._clients.get(message.task, ()):
                    self._tell_holder(EntrustedStarted(client, message.task, message.seconds))
        self._apply(self._owner.handle(Received(node, messages), now))

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due."""
        return self._owner.next_deadline()

    def tick(self, now: float) -> None:
        """Do what has become due."""
        self._apply(self._owner.tick(now))

    def _apply(self, effects: list[OwnerEffect]) -> None:
        for effect in effects:
            match effect:
                case Send(_, messages):
                    self._tell_holder(Received(self.client, messages))
                case Settle(ended):
                    for task, outcome in ended:
                        self._settle(task, outcome)
                case WithdrawAnswered(task_id, withdrawn):
                    clients = self._clients.pop(task_id, ()) if withdrawn else self._clients.get(task_id, ())
                    for client in clients:
                        self._tell_holder(EntrustedWithdrawn(client, task_id, withdrawn))
                case RetryPlanned(task_id, seconds):
                    for client in self._clients.get(task_id, ()):
                        self._tell_holder(EntrustedRetrying(client, task_id, seconds))
                case PurgeAnswered(command, discarded):
                    self._purges.pop(command)(discarded)
                case _:
                    assert_never(effect)

    def _settle(self, task: OwnedTask, outcome: Outcome) -> None:
        if len(self._attempts) >= MAX_ATTEMPTS:
            self._attempts.popitem(last=False)
        self._attempts[task.id] = task.attempt
        if outcome.ending is Ending.CANCELLED:
            return  # it was withdrawn: the answer to that, which follows, tells the holder
        status, serializer, payload = _STATUS.get(outcome.ending), outcome.serializer, outcome.payload
        if status is Status.WORKER_LOST:
            payload = outcome.text.encode()
        elif status is None:
            # The client must not try again what has been tried as often as it may be.
            status, serializer, payload = Status.FAILURE, "msgpack", dump_failure(error_of(task, outcome))
        for client in self._clients.pop(task.id):
            self._tell_holder(EntrustedDone(client, task.id, status, serializer, payload))
