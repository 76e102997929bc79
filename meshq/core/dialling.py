"""Where nodes may be, and the attempts to reach them: the part of membership that ends when a node answers.

A *candidate* is a hint that a node may be at some addresses. It is dialled in *rounds*: each address once, a
few at a time, until one of the links is welcomed. A round in which all fail is followed by a pause, 1 → 30 s,
doubling, but 1 s for a node that was lost not long ago. The last problem of each candidate is kept, so that
``meshq nodes`` can say why it sees nothing. A candidate whose node answers is *settled*, and left alone until
that node is lost. One that does not answer is *absent*, unless its process is known to have ended: where its port
refuses, or where it took leave.
"""

from __future__ import annotations

from meshq.core.candidates import (
    MDNS,
    PEER,
    Absent,
    Candidate,
    Dial,
    DialEffect,
    DialSettings,
    Hangup,
    Problem,
    Rng,
)
from meshq.core.entries import Entry, Link
from meshq.core.timers import Timers, earliest

__all__ = [
    "MDNS", "PEER", "Absent", "Candidate", "Dial", "DialEffect", "DialSettings", "Dialling", "Hangup", "Problem",
    "Rng",
]  # fmt: skip

# What one candidate may make us dial. The threat: an announcement with thousands of addresses.
_MAX_ENDPOINTS = 16


class Dialling:
    """All candidates, and the links that are being tried."""

    def __init__(self, settings: DialSettings, rng: Rng, key: str) -> None:
        self._settings = settings
        self._rng = rng
        self._key = key
        self._entries: dict[str, Entry] = {}
        self._links: dict[int, Link] = {}
        self.changes = 0
        """Grows whenever ``absent`` may have something else to say."""
        # Candidates with an endpoint that may be dialled as soon as fewer than ``dials`` links are tried.
        self._waiting: dict[str, Entry] = {}
        self._hints: set[str] = set()
        self._last_link = 0
        self._hello: Timers[int] = Timers()
        self._redial: Timers[str] = Timers()
        self._forget: Timers[str] = Timers()

    def next_deadline(self) -> float | None:
        """Return when ``tick`` is due."""
        return earliest(*(timers.next_deadline() for timers in (self._hello, self._redial, self._forget)))

    def tick(self, now: float) -> list[DialEffect]:
        """Give up links that are silent, start rounds that are due, forget what was gone for long."""
        effects: list[DialEffect] = []
        for link in self._hello.pop_due(now):
            effects += self.fail(link, "silent", self._silence(link), now)
        for instance in self._redial.pop_due(now):
            effects += self._start_round(self._entries[instance], now)
        for instance in self._forget.pop_due(now):
            effects += self._drop(instance, now)
        return effects

    def forgive(self, lag_s: float) -> None:
        """Give every link being tried as much more time as we were not listening."""
        for link, at in list(self._hello.items()):
            self._hello.set(link, at + lag_s)

    def problems(self) -> list[Problem]:
        """Return the last problem of each candidate that does not count as a node."""
        return [entry.problem for entry in self._entries.values() if entry.problem and not entry.settled]

    def absent(self, now: float) -> list[Absent]:
        """Return who does not answer, and should: for a while after it was announced, named or lost."""
        entries = self._entries.values()
        recent = (entry for entry in entries if now - entry.since <= self._settings.forget_s)
        return [entry.as_absent() for entry in recent if entry.is_absent]

    def problem(self, instance: str) -> str | None:
        """Return the code of a candidate's last problem, "" where it has none; None for one that is not known."""
        entry = self._entries.get(instance)
        return None if entry is None else entry.code

    def see(self, candidate: Candidate, now: float) -> list[DialEffect]:
        """Take in a hint; new, changed or announced anew, it is dialled at once unless its node answers."""
        entry = self._entries.get(candidate.instance)
        if entry is None:
            return self._add(candidate, now)
        before = entry.candidate
        if candidate == before and not entry.gone:
            return []
        entry.candidate, entry.gone, entry.ended, entry.since = candidate, False, False, now
        self._hints.discard(candidate.instance)
        self._forget.cancel(candidate.instance)
        self.changes += 1
        if entry.settled:
            return []
        entry.failures = 0
        if before.source == PEER and entry.links and not self._key_problem(candidate):
            return self._go_on(entry, before, now)
        return self._stop_round(entry) + self._start_round(entry, now)

    def hint(self, candidate: Candidate, now: float) -> list[DialEffect]:
        """Take in what a node says of another, unless that is known; it is tried for a while only."""
        full = len(self._entries) >= self._settings.candidates or len(self._hints) >= self._settings.hints
        if candidate.instance in self._entries or full:
            return []
        self._hints.add(candidate.instance)
        effects = self._add(candidate, now)
        self._entries[candidate.instance].gone = True  # nobody will say that it is
        self._forget.set(candidate.instance, now + self._settings.forget_s)
        return effects

    def leave(self, instance: str, now: float) -> None:
        """Note that the candidate is no longer announced: a reason to forget it one day, and nothing more."""
        entry = self._entries.get(instance)
        if entry is not None and not entry.gone:
            entry.gone = True
            self.changes += 1
            if not entry.settled:
                self._forget.set(instance, now + self._settings.forget_s)

    def is_tried(self, link: int) -> bool:
        """Tell whether the link is being tried."""
        return link in self._links

    def connected(self, link: int, now: float) -> None:
        """Note that the link is up: from the first time on, it has its time to answer HELLO."""
        if not self._links[link].up:
            self._links[link].up = True
            self._hello.set(link, now + self._settings.hello_s)

    def fail(self, link: int, code: str, text: str, now: float) -> list[DialEffect]:
        """Give the link up; go on with the next endpoint, or end the round."""
        entry, endpoint = self._unlink(link)
        entry.problem = Problem(entry.candidate.label, endpoint, code, text)
        # At another address than before it may be another host that refuses.
        entry.ended |= code == "refused" and entry.answered in ("", endpoint)
        self.changes += 1
        if not entry.todo and not entry.links:
            self._pause(entry, now)
        self._queue(entry)
        return [Hangup(link), *self._dial(now)]

    def win(self, link: int, now: float) -> tuple[str, str, list[DialEffect]]:
        """Settle the candidate of a welcomed link; return its instance, the link's endpoint, the effects."""
        entry, endpoint = self._unlink(link)
        instance = entry.candidate.instance
        self._forget.cancel(instance)
        entry.settled, entry.ended, entry.problem, entry.failures = True, False, None, 0
        entry.answered = endpoint
        self.changes += 1
        return instance, endpoint, self._stop_round(entry) + self._dial(now)

    def lose(self, instance: str, lost: Absent, endpoint: str, text: str, ended: bool, now: float) -> None:
        """Take note that the node of a settled candidate is lost; it is dialled again after a pause."""
        entry = self._entries[instance]
        entry.settled, entry.ended = False, ended
        entry.lost_at = entry.since = now
        entry.node, entry.name, entry.answered = lost.node, lost.name, endpoint
        entry.problem = Problem(entry.candidate.label, endpoint, lost.code, text)
        self.changes += 1
        self._pause(entry, now)
        if entry.gone:
            self._forget.set(instance, now + self._settings.forget_s)

    def drop(self, instance: str, now: float) -> list[DialEffect]:
        """Forget a candidate, and give up what is tried for it."""
        return self._drop(instance, now) if instance in self._entries else []

    def _add(self, candidate: Candidate, now: float) -> list[DialEffect]:
        effects: list[DialEffect] = []
        self.changes += 1
        if len(self._entries) >= self._settings.candidates:
            # A flood may push out hints that nobody has answered, but no node and nothing the user named.
            victim = next((name for name, entry in self._entries.items() if entry.is_expendable), None)
            if victim is None:
                return []
            effects = self._drop(victim, now)
        entry = self._entries[candidate.instance] = Entry(candidate, now)
        return effects + self._start_round(entry, now)

    def _drop(self, instance: str, now: float) -> list[DialEffect]:
        effects = self._stop_round(self._entries[instance])
        self._forget.cancel(instance)
        self._hints.discard(instance)
        del self._entries[instance]
        self.changes += 1
        return effects + self._dial(now)

    def _start_round(self, entry: Entry, now: float) -> list[DialEffect]:
        problem = self._key_problem(entry.candidate)
        if problem is not None:
            entry.problem = problem
            return self._dial(now)
        entry.todo = list(entry.candidate.endpoints[:_MAX_ENDPOINTS])
        self._queue(entry)
        return self._dial(now)

    def _go_on(self, entry: Entry, before: Candidate, now: float) -> list[DialEffect]:
        """Go on with a round of which further endpoints have become known."""
        entry.todo += [each for each in entry.candidate.endpoints[:_MAX_ENDPOINTS] if each not in before.endpoints]
        self._queue(entry)
        return self._dial(now)

    def _unlink(self, link: int) -> tuple[Entry, str]:
        ended = self._links.pop(link)
        ended.entry.links.remove(link)
        self._hello.cancel(link)
        return ended.entry, ended.endpoint

    def _stop_round(self, entry: Entry) -> list[DialEffect]:
        links = entry.links.copy()
        for link in links:
            self._unlink(link)
        entry.todo.clear()
        self._waiting.pop(entry.candidate.instance, None)
        self._redial.cancel(entry.candidate.instance)
        return [Hangup(link) for link in links]

    def _queue(self, entry: Entry) -> None:
        if entry.todo and len(entry.links) < self._settings.per_candidate:
            self._waiting[entry.candidate.instance] = entry
        else:
            self._waiting.pop(entry.candidate.instance, None)

    def _dial(self, now: float) -> list[DialEffect]:
        """Dial what waits, the longest waiting first, as far as the bound allows."""
        effects: list[DialEffect] = []
        while self._waiting and len(self._links) < self._settings.dials:
            entry = next(iter(self._waiting.values()))
            endpoint = entry.todo.pop(0)
            self._last_link += 1
            self._links[self._last_link] = Link(entry, endpoint)
            entry.links.append(self._last_link)
            self._hello.set(self._last_link, now + self._settings.connect_s)
            self._queue(entry)
            effects.append(Dial(self._last_link, endpoint, entry.candidate))
        return effects

    def _pause(self, entry: Entry, now: float) -> None:
        seconds = min(self._settings.redial_min_s * 2.0**entry.failures, self._settings.redial_max_s)
        if entry.lost_at is not None and now - entry.lost_at < self._settings.forget_s:
            seconds = min(seconds, self._settings.redial_lost_s)
        entry.failures = min(entry.failures + 1, 32)
        self._redial.set(entry.candidate.instance, now + seconds * self._rng.uniform(0.75, 1.25))

    def _silence(self, link: int) -> str:
        if self._links[link].up:
            return f"connected, but HELLO was not answered within {self._settings.hello_s:g} s: is it a node?"
        return f"no connection within {self._settings.connect_s:g} s: is the host up, the port open, the key ours?"

    def _key_problem(self, candidate: Candidate) -> Problem | None:
        if candidate.key == self._key or (not candidate.key and candidate.source != MDNS):
            return None
        if not candidate.key:
            text = "it has no mesh key and we have: start it with the same key, or dial it with --insecure"
        elif not self._key:
            text = "it wants a mesh key and we have none: copy the key file from there, or name it with --key"
        else:
            text = "its mesh key is another one: copy one key file to both hosts, or choose another --mesh"
        return Problem(candidate.label, candidate.endpoints[0], "key", text)
