"""Detached tasks at the node that took them over: in the care of its own owner, until that has settled them.

Each stands here a second time while it runs on this node, as an attempt of this node's own owner.
"""

from __future__ import annotations

from collections.abc import Mapping

from meshq.core.endings import Endings
from meshq.core.held import ClientAccount, Held, HeldState, Intent
from meshq.core.holding import (
    Disown,
    Entrust,
    EntrustedDone,
    EntrustedRetrying,
    EntrustedStarted,
    EntrustedWithdrawn,
    HolderEffect,
)
from meshq.core.reporting import Reports
from meshq.protocol.messages import Accepted, Retrying, Started, Withdrawn

ENTRUSTED_BYTES = 256 * 1024**2
"""What detached tasks may take up at a node; past it they are refused as ``full`` and go elsewhere."""
_OVERHEAD = 1024
"""A detached task with no arguments takes memory as well."""


class Entrusting:
    """The held attempts that are ENTRUSTED; ``effects`` is where the holder gathers what it asks for."""

    def __init__(
        self,
        clients: Mapping[bytes, ClientAccount],
        reports: Reports,
        endings: Endings,
        effects: list[HolderEffect],
    ) -> None:
        self.bytes = 0
        """What they take up."""
        self.retry_at: dict[Held, float] = {}
        """When those that have failed were to be tried again, as our own owner last said."""
        self._clients = clients
        self._reports = reports
        self._endings = endings
        self._effects = effects

    def is_full(self) -> bool:
        """Whether no more are to be taken."""
        return self.bytes >= ENTRUSTED_BYTES

    def take(self, held: Held, now: float) -> None:
        """Take over a detached task; said at once, since a short script may wait for just that."""
        held.state = HeldState.ENTRUSTED
        held.client.entrusted += 1
        self.bytes += held.size + _OVERHEAD
        self._reports.say(held.client, Accepted(held.task, held.attempt))
        if held.terms is not None:
            held.terms.begin(now)
        self._effects.append(_entrust(held, now))

    def withdraw(self, held: Held) -> None:
        """Ask our own owner to let go of the task, for its client."""
        if held.intent is Intent.NONE:  # else the answer to an earlier asking is still to come
            self._effects.append(Disown(held.client.client, held.task))
        held.intent = Intent.WITHDRAW

    def on_started(self, event: EntrustedStarted, now: float) -> None:
        """Pass on that the task runs."""
        held = self._find(event.client, event.task)
        if held is not None:
            self._reports.say(held.client, Started(held.task, held.attempt, event.seconds))

    def on_retrying(self, event: EntrustedRetrying, now: float) -> None:
        """Pass on that the task has failed and waits for its next try."""
        held = self._find(event.client, event.task)
        if held is not None:
            self.retry_at[held] = now + event.seconds
            self._reports.say(held.client, Retrying(held.task, held.attempt, event.seconds))

    def on_done(self, event: EntrustedDone, now: float) -> None:
        """Make what our own owner was told the task's result here."""
        held = self._find(event.client, event.task)
        if held is not None:
            self._release(held)
            self._endings.end(held, event.status, event.serializer, event.payload, 0.0, now)

    def on_withdrawn(self, event: EntrustedWithdrawn, now: float) -> None:
        """Answer the client that wanted the task back, unless a later attempt calls that off."""
        held = self._find(event.client, event.task)
        if held is None:
            return
        intent, held.intent = held.intent, Intent.NONE
        if intent is Intent.WITHDRAW:
            outcome = "dropped" if event.withdrawn else "running"
            self._reports.say(held.client, Withdrawn(held.task, held.attempt, outcome))
        if event.withdrawn and intent is Intent.WITHDRAW:
            self._release(held)
            self._endings.forget(held)
        elif event.withdrawn:
            self._effects.append(_entrust(held, now))  # a later attempt came after the withdrawal

    def _release(self, held: Held) -> None:
        held.client.entrusted -= 1
        self.retry_at.pop(held, None)
        self.bytes -= held.size + _OVERHEAD

    def _find(self, client_id: bytes, task: bytes) -> Held | None:
        client = self._clients.get(client_id)
        held = client.held.get(task) if client is not None else None
        return held if held is not None and held.state is HeldState.ENTRUSTED else None


def _entrust(held: Held, now: float) -> Entrust:
    options = held.options
    if options is not None and held.terms is not None:
        options = held.terms.options_left(options, now)
    return Entrust(held.client.client, held.task, held.function, held.serializer, held.payload, options)
