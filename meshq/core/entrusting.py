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
    EntrustedHandedOver,
    EntrustedRetrying,
    EntrustedStarted,
    EntrustedWithdrawn,
    HolderEffect,
)
from meshq.core.reporting import Reports
from meshq.protocol.messages import Accepted, Nack, Rack, Retrying, Started, Status, Withdrawn

ENTRUSTED_BYTES = 256 * 1024**2
"""What detached tasks may take up at a node, or a quarter of its budget for attached ones where that is less; past
it they are refused as ``full`` and go elsewhere."""
_OVERHEAD = 1024
"""A detached task with no arguments takes memory as well."""
_NOT_ASKED = frozenset({Intent.NONE, Intent.HAND_OVER})
"""Intents with which our own owner has not been asked to let go of the task."""
_IN_DOUBT = b"the node was drained, and its client, which was to send it elsewhere, is gone"
DRAINS = "draining", "the node finishes what it has and takes nothing new"
NACK_AGAIN_S = 0.9
"""How soon a client is told again that it is to have a task back, until it acknowledges that."""
WAIT_S = 2.5
"""How long a task that was given back waits here for another node to take it."""


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
        self._returned: dict[Held, tuple[float, float]] = {}
        """Those that our own owner has let go of for their clients, with when these were first and last told so.

        A client says when another node has taken the task. Until then it stays here: the client may go just then.
        """
        self._passed_on: set[tuple[bytes, bytes]] = set()
        """(client, task) of those that a peer has taken over. A node that drains takes no others, so their number
        has an end.
        """
        self._clients = clients
        self._reports = reports
        self._endings = endings
        self._effects = effects

    def is_full(self) -> bool:
        """Whether no more are to be taken."""
        return self.bytes >= min(ENTRUSTED_BYTES, self._reports.budget.total // 4)

    def take(self, held: Held, now: float) -> None:
        """Take over a detached task; said at once, since a short script may wait for just that."""
        held.state = HeldState.ENTRUSTED
        held.client.entrusted += 1
        self.bytes += held.size + _OVERHEAD
        self._reports.say(held.client, Accepted(held.task, held.attempt))
        if held.terms is not None:
            held.terms.begin(now)
        self._effects.append(self._entrust(held, now))

    def withdraw(self, held: Held) -> None:
        """Ask our own owner to let go of the task, for its client."""
        if held in self._returned:
            self._let_go(held)
            self._endings.forget(held)
            self._reports.say(held.client, Withdrawn(held.task, held.attempt, "dropped"))
            return
        self._disown(held)
        held.intent = Intent.WITHDRAW

    def _disown(self, held: Held) -> None:
        if held.intent in _NOT_ASKED:  # else the answer to an earlier asking is still to come
            self._effects.append(Disown(held.client.client, held.task))

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
            # Whoever is entrusted with it anew is to go on counting.
            held.options = {**(held.options or {}), "retries": event.retries}
            self._reports.say(held.client, Retrying(held.task, held.attempt, event.seconds, event.retries))

    def on_done(self, event: EntrustedDone, now: float) -> None:
        """Make what our own owner was told the task's result here."""
        held = self._find(event.client, event.task)
        if held is not None:
            self._let_go(held)
            self._endings.end(held, event.status, event.serializer, event.payload, 0.0, now)

    def on_withdrawn(self, event: EntrustedWithdrawn, now: float) -> None:
        """Answer the client that wanted the task back, unless a later attempt calls that off."""
        held = self._find(event.client, event.task)
        if held is None:
            return
        intent, held.intent = held.intent, Intent.NONE
        if event.withdrawn and (event.deaths or "deaths" in (held.options or {})):
            held.options = {**(held.options or {}), "deaths": event.deaths}
        if intent is Intent.WITHDRAW:
            outcome = "dropped" if event.withdrawn else "running"
            self._reports.say(held.client, Withdrawn(held.task, held.attempt, outcome))
        if event.withdrawn and intent is Intent.WITHDRAW:
            self._let_go(held)
            self._endings.forget(held)
        elif event.withdrawn and intent is Intent.HAND_BACK and held.client.connected:
            self._return(held, now)
        elif event.withdrawn:
            self._effects.append(self._entrust(held, now))  # a later attempt came, or its client went

    def _let_go(self, held: Held) -> None:
        held.client.entrusted -= 1
        self.retry_at.pop(held, None)
        self._returned.pop(held, None)
        self.bytes -= held.size + _OVERHEAD

    # ------------------------------------------------------------------ while the node drains

    def hand_back(self, held: Held, now: float) -> None:
        """See to it that the client gets its task back, unless it runs; to be called again until it is gone."""
        if held not in self._returned:
            self._disown(held)
            if held.intent is not Intent.WITHDRAW:
                held.intent = Intent.HAND_BACK
            return
        first, last = self._returned[held]
        if now >= first + WAIT_S and held.client.heard_at >= first + NACK_AGAIN_S:
            # No other node is there to take it; its client, which was heard since, waits for one.
            self._let_go(held)
            self._endings.drop(held)
        elif now >= last + NACK_AGAIN_S:
            self._return(held, now)

    def _return(self, held: Held, now: float) -> None:
        first, _ = self._returned.get(held, (now, now))
        self._returned[held] = first, now
        deaths = (held.options or {}).get("deaths", 0)
        self._reports.say(held.client, Nack(held.task, held.attempt, *DRAINS, deaths))

    def hand_over(self, held: Held, now: float) -> bool:
        """Keep a task whose client is gone; return whether a peer is to be asked to take it over."""
        if held in self._returned:
            del self._returned[held]
            if held.terms is not None and held.terms.once:
                # Its client may have sent it elsewhere, just before it went.
                self._let_go(held)
                self._endings.end(held, Status.WORKER_LOST, "", _IN_DOUBT, 0.0, now)
                return False
            self._effects.append(self._entrust(held, now))
        elif held.intent is not Intent.NONE:
            return False
        held.intent = Intent.HAND_OVER
        return True

    def on_rack(self, client: ClientAccount, message: Rack) -> None:
        """Let go of a task that another node has, or that its client has had the end of."""
        held = client.held.get(message.task)
        if held is not None and held in self._returned and held.attempt == message.attempt:
            self._let_go(held)
            self._endings.drop(held)

    def on_handed_over(self, event: EntrustedHandedOver, now: float) -> None:
        """Let go of a task that a peer owns from now on."""
        held = self._find(event.client, event.task)
        if held is not None:
            if held.intent is Intent.WITHDRAW:
                self._reports.say(held.client, Withdrawn(held.task, held.attempt, "running"))
            self._let_go(held)
            self._endings.drop(held)
            self._passed_on.add((event.client, event.task))

    def answer_again(self, held: Held, now: float) -> None:
        """Answer a copy of a detached task that is here."""
        if held in self._returned:
            self._return(held, now)
        else:
            self._reports.say(held.client, Accepted(held.task, held.attempt))

    def has_passed_on(self, client: ClientAccount, task: bytes) -> bool:
        """Whether a peer has taken over this task of the client's."""
        return (client.client, task) in self._passed_on

    def _entrust(self, held: Held, now: float) -> Entrust:
        """Return the word by which our own owner gets the task, with what is left of its durations."""
        options = held.options
        if options is not None and held.terms is not None:
            options = held.terms.options_left(options, now)
        pause_s = self.retry_at.get(held, now) - now
        if pause_s > 0.0:
            start_s = held.terms.start_at - now if held.terms is not None else 0.0
            options = {**(options or {}), "countdown": max(pause_s, start_s)}
        return Entrust(held.client.client, held.task, held.function, held.serializer, held.payload, options)

    def _find(self, client_id: bytes, task: bytes) -> Held | None:
        client = self._clients.get(client_id)
        held = client.held.get(task) if client is not None else None
        return held if held is not None and held.state is HeldState.ENTRUSTED else None
