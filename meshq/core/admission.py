"""Taking attempts in at a node: which are new, which are copies, which are refused, and where each one goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from meshq.core.budget import SMALL_BYTES, Budget, large_size
from meshq.core.dispatch import Dispatch
from meshq.core.draining import Draining
from meshq.core.endings import Endings
from meshq.core.entrusting import DRAINS, Entrusting
from meshq.core.held import ClientAccount, Held, HeldState
from meshq.core.holding import FunctionsKnown, RateLimitSet, TimeLimitSet
from meshq.core.limits import Limits
from meshq.core.pace import MAX_CREDIT
from meshq.core.parking import Parking
from meshq.core.reporting import Reports
from meshq.core.survey import Survey
from meshq.core.tombs import NO_GRAVES
from meshq.core.withdrawals import Withdrawals
from meshq.errors import ChunkRefused
from meshq.protocol.failures import FAILURE_SERIALIZER, dump_failure
from meshq.protocol.messages import LONGEST_TEXT, Accepted, Nack, Status, Submit, Withdrawn

# A client keeps to its credit, and acknowledges; one that does not is refused before it fills our memory.
MAX_KEPT = 2 * MAX_CREDIT


class Admission:
    """What SUBMIT does at the holder, part by part of which it is made."""

    def __init__(
        self,
        own_client: bytes,
        budget: Budget,
        dispatch: Dispatch,
        reports: Reports,
        endings: Endings,
        parking: Parking,
        limits: Limits,
        entrusting: Entrusting,
        withdrawals: Withdrawals,
        survey: Survey,
        drain: Draining,
    ) -> None:
        self._own_client = own_client
        self._budget = budget
        self._dispatch = dispatch
        self._reports = reports
        self._endings = endings
        self._parking = parking
        self._limits = limits
        self._entrusting = entrusting
        self._withdrawals = withdrawals
        self._survey = survey
        self._drain = drain
        self._tombs, self._refused = endings.tombs, endings.refused
        self._revocations = withdrawals.revocations
        self._functions: frozenset[str] = frozenset()
        self._serializers: frozenset[str] = frozenset()
        self._aliases: Mapping[str, str] = {}
        self._plain: dict[str, str] = {}
        """The functions that are offered and have no terms of their own, by each name that they go by."""
        self._encodings: dict[str, str] = {}
        """Each serializer; so that what is held has one string of its own name between them."""

    def on_functions(self, event: FunctionsKnown, now: float) -> None:
        """Take note of what the node offers."""
        self._functions, self._serializers, self._aliases = event.functions, event.serializers, event.aliases
        self._encodings = {name: name for name in event.serializers}
        self._parking.declare(event.options)
        self._limits.declare(event.options)
        self._note_plain()

    def _note_plain(self) -> None:
        """Work out anew which functions are ordinary."""
        own_names = {name: self._aliases.get(name, name) for name in self._functions}
        self._plain = {name: own for name, own in own_names.items() if not self._parking.is_special(own)}

    def limits_of(self, function: str) -> tuple[float, float | None, float | None]:
        """Return how many runs of a function may start in a second (0: no limit), and its soft and hard limit."""
        return self._parking.rate_of(function), *self._limits.limits_of(function)

    def on_limit(self, event: RateLimitSet | TimeLimitSet, now: float) -> None:
        """Set a limit; chunks that nobody has asked for end with it, as it counts for each of their calls."""
        if any(event[1:]):  # else it is lifted
            for held in self._dispatch.take_chunks(event.function):
                self._refuse_chunk(held, now)
        if isinstance(event, RateLimitSet):
            self._parking.on_rate_limit_set(event, now)
            self._note_plain()
        else:
            self._limits.on_time_limit_set(event, now)

    def on_submits(self, client: ClientAccount, messages: Sequence[Submit], now: float, taken: list[Held]) -> None:
        """Take attempts in, in their order; what waits for a slot is added to ``taken``.

        The same as ``on_submit`` for each, at half of its cost for those that are ordinary.
        """
        kept = len(client.held) - client.entrusted - client.parked
        if self._drain.has_begun or client.leaving or kept + len(messages) > MAX_KEPT:
            for message in messages:
                self.on_submit(client, message, now, taken)
            return
        held_of = client.held
        peer, tombs = client.client, self._tombs
        over, long_over = tombs.newer.get(peer, NO_GRAVES), tombs.older.get(peer, NO_GRAVES)
        is_any = self._revocations.live or self._refused.newer
        suspects: set[bytes] = self._suspects(client, messages, now) if is_any else set()
        ordinary: list[Held] = []
        last_name = last_encoding = ""
        function = serializer = None
        for message in messages:
            task, attempt, name, encoding, payload, detached, options = message
            if name != last_name or encoding != last_encoding:  # as a rule they are the same, and each has its own
                last_name, last_encoding = name, encoding
                function, serializer = self._plain.get(name), self._encodings.get(encoding)
            if (
                function is None or serializer is None or options is not None or detached
                or task in held_of or task in over or task in long_over or task in suspects
                or type(payload) is not bytes or len(payload) > SMALL_BYTES
            ):  # fmt: skip
                self._queue(client, ordinary, taken)
                ordinary = []
                self.on_submit(client, message, now, taken)
                suspects.add(task)  # it may have been buried just now, and a copy come later in the batch
            else:
                held = held_of[task] = Held(client, task, attempt, function, serializer, payload, False, None)
                ordinary.append(held)
        self._queue(client, ordinary, taken)

    def _suspects(self, client: ClientAccount, messages: Sequence[Submit], now: float) -> set[bytes]:
        """Return those of the tasks that are revoked, or were not taken before."""
        if not self._revocations.live and not any(self._refused.of(client.client)):
            return set()
        return {
            message.task
            for message in messages
            if self._revocations.contains(message.task, now)
            or self._refused.covers(client.client, message.task, message.attempt)
        }

    def _queue(self, client: ClientAccount, helds: list[Held], taken: list[Held]) -> None:
        if helds:
            self._dispatch.queue_all(client, helds)
            taken += helds

    def on_submit(self, client: ClientAccount, message: Submit, now: float, taken: list[Held]) -> None:
        """Take an attempt in, or say why not; what waits for a slot is added to ``taken``."""
        held = client.held.get(message.task)
        if held is not None and held.is_followed_by(message.attempt):
            self._endings.forget(held)
        elif held is not None and not self._is_now_detached(held, message):
            self._answer_again(held, message, now)
            return
        if client.leaving:
            return  # a late copy of what was taken back
        if self._tombs.covers(client.client, message.task, message.attempt):
            # A late copy, whose owner takes no notice of this; or a new task of an old id, which then comes anew.
            self._reports.say(client, Withdrawn(message.task, message.attempt, "unknown"))
            return
        is_large = type(message.payload) is not bytes or len(message.payload) > SMALL_BYTES
        reason = self._refusal(client, message, is_large)
        if reason:
            self._refuse(client, message, reason)
            return
        if message.function in self._aliases:
            message = message._replace(function=self._aliases[message.function])
        held = client.held[message.task] = Held(client, *message)
        if is_large and not message.detached:
            self._budget.take(held, large_size(message.payload))
        if held.terms is not None:
            self._limits.notice(held.terms)
        if self._ends_at_once(held, now):
            return
        if held.detached:
            self._entrusting.take(held, now)
        elif not self._parking.take(held, now):
            self._dispatch.queue(held)
            taken.append(held)

    def _refuse(self, client: ClientAccount, message: Submit, reason: tuple[str, str]) -> None:
        if reason is DRAINS and self._entrusting.has_passed_on(client, message.task):
            self._reports.say(client, Accepted(message.task, message.attempt))
            return
        self._refused.bury(client.client, message.task, message.attempt)
        self._reports.say(client, Nack(message.task, message.attempt, *reason))

    def _ends_at_once(self, held: Held, now: float) -> bool:
        """Whether the attempt needs no run, and has ended."""
        if self._revocations.contains(held.task, now):
            self._reports.finished(held, Status.REVOKED, "", b"", 0.0, now)
        elif held.terms is not None and held.terms.is_keyed and (known := self._survey.value_of(held, now)):
            self._reports.finished(held, Status.OK, known.serializer, known.payload, 0.0, now)
        elif held.is_split and any(self.limits_of(held.function)):
            self._refuse_chunk(held, now)
        else:
            return False
        return True

    def _refuse_chunk(self, held: Held, now: float) -> None:
        """End a chunk that nobody has asked for, as something counts for each of its calls."""
        text = f"{held.function} has limits here: its calls are to be tasks of their own"
        failure = dump_failure(ChunkRefused(text))
        self._reports.finished(held, Status.FAILURE, FAILURE_SERIALIZER, failure, 0.0, now)

    def _answer_again(self, held: Held, message: Submit, now: float) -> None:
        """Answer a copy; a later attempt of what is here already goes on under its new number."""
        if message.attempt < held.attempt:
            return
        held.renumber(message.attempt)
        if held.state is HeldState.DONE:
            self._reports.send_result(held, now)
        elif held.state is HeldState.ENTRUSTED:
            self._entrusting.answer_again(held, now)
        elif not message.detached:  # else what runs stays its owner's, until it ends or is given back
            held.reported = False
            if held.state is HeldState.PARKED:
                self._parking.report(held, now)
            else:
                self._reports.say(held.client, Accepted(held.task, held.attempt))

    def _is_now_detached(self, held: Held, message: Submit) -> bool:
        """Whether an attempt that waits here for its owner comes anew, to be this node's own: it then makes room.

        So it is where a node that drains hands a task over which it has sent here before, and could not call back.
        """
        is_new = message.detached and not held.detached and message.attempt > held.attempt
        return is_new and self._withdrawals.let_go(held)

    def _refusal(self, client: ClientAccount, message: Submit, is_large: bool) -> tuple[str, str] | None:
        """Return why the attempt is not taken, whose arguments may be large: a code, and words."""
        if self._drain.has_begun and client.client != self._own_client:
            return DRAINS
        if message.function not in self._functions:
            return "unknown-task", f"the node does not offer {message.function}"[:LONGEST_TEXT]
        if message.serializer not in self._serializers:
            return "serializer", f"the node does not take {message.serializer}"[:LONGEST_TEXT]
        kept = len(client.held) - client.entrusted - client.parked
        if kept >= MAX_KEPT:
            return "full", f"the client has {kept} attempts and unacknowledged results here"
        if message.detached and self._entrusting.is_full():
            return "full", f"detached tasks take up {self._entrusting.bytes} bytes here"
        if self._refused and self._refused.covers(client.client, message.task, message.attempt):
            return "full", "the node did not take this attempt before"
        if is_large and not message.detached:
            why = self._budget.refusal(client, large_size(message.payload))
            return ("full", why) if why else None
        return None
