"""Where nodes may be, and the attempts to reach them: the part of membership that ends when a node answers.

A *candidate* is a hint that a node may be at some addresses. It is dialled in *rounds*: each address once, a
few at a time, until one of the links is welcomed. A round in which all fail is followed by a pause, 1 → 30 s,
doubling, but 1 s for a node that was lost not long ago. The last problem of each candidate is kept, so that
``meshq nodes`` can say why it sees nothing. A candidate whose node answers is *settled*, and left alone until
that node is lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from meshq.core.candidates import MDNS, Candidate, Dial, DialEffect, DialSettings, Hangup, Problem, Rng
from meshq.core.timers import Timers, earliest

__all__ = [
    "MDNS", "Candidate", "Dial", "DialEffect", "DialSettings", "Dialling", "Hangup", "Problem", "Rng",
]  # fmt: skip

# What one candidate may make us dial. The threat: an announcement with thousands of addresses.
_MAX_ENDPOINTS = 16


@dataclass(slots=True)
class _Entry:
    """A candidate. ``todo``: endpoints still to dial in this round; ``links``: those being tried."""

    candidate: Candidate
    todo: list[str] = field(default_factory=list)
    links: list[int] = field(default_factory=list)
    failures: int = 0
    settled: bool = False
    gone: bool = False
    lost_at: float | None = None
    problem: Problem | None = None


@dataclass(slots=True)
class _Link:
    """A link being tried; ``up`` once it was connected."""

    entry: _Entry
    endpoint: str
    up: bool = False


class Dialling:
    """All candidates, and the links that are being tried."""

    def __init__(self, settings: DialSettings, rng: Rng, key: str) -> None:
        self._settings = settings
        self._rng = rng
        self._key = key
        self._entries: dict[str, _Entry] = {}
        self._links: dict[int, _Link] = {}
        # Candidates with an endpoint that may be dialled as soon as fewer than ``dials`` links are tried.
        self._waiting: dict[str, _Entry] = {}
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

    def see(self, candidate: Candidate, now: float) -> list[DialEffect]:
        """Take in a hint; new, changed or announced anew, it is dialled at once unless its node answers."""
        entry = self._entries.get(candidate.instance)
        if entry is None:
            return self._add(candidate, now)
        if candidate == entry.candidate and not entry.gone:
            return []
        entry.candidate, entry.gone = candidate, False
        self._forget.cancel(candidate.instance)
        if entry.settled:
            return []
        entry.failures = 0
        return self._stop_round(entry) + self._start_round(entry, now)

    def leave(self, instance: str, now: float) -> None:
        """Note that the candidate is no longer announced: a reason to forget it one day, and nothing more."""
        entry = self._entries.get(instance)
        if entry is not None and not entry.gone:
            entry.gone = True
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
        if not entry.todo and not entry.links:
            self._pause(entry, now)
        self._queue(entry)
        return [Hangup(link), *self._dial(now)]

    def win(self, link: int, now: float) -> tuple[str, str, list[DialEffect]]:
        """Settle the candidate of a welcomed link; return its instance, the link's endpoint, the effects."""
        entry, endpoint = self._unlink(link)
        instance = entry.candidate.instance
        self._forget.cancel(instance)
        entry.settled, entry.problem, entry.failures = True, None, 0
        return instance, endpoint, self._stop_round(entry) + self._dial(now)

    def lose(self, instance: str, endpoint: str, code: str, text: str, now: float) -> None:
        """Take note that the node of a settled candidate is lost; it is dialled again after a pause."""
        entry = self._entries[instance]
        entry.settled = False
        entry.lost_at = now
        entry.problem = Problem(entry.candidate.label, endpoint, code, text)
        self._pause(entry, now)
        if entry.gone:
            self._forget.set(instance, now + self._settings.forget_s)

    def _add(self, candidate: Candidate, now: float) -> list[DialEffect]:
        effects: list[DialEffect] = []
        if len(self._entries) >= self._settings.candidates:
            # A flood may push out hints that nobody has answered, but no node and nothing the user named.
            victim = next((name for name, entry in self._entries.items() if _is_expendable(entry)), None)
            if victim is None:
                return []
            effects = self._drop(victim, now)
        entry = self._entries[candidate.instance] = _Entry(candidate)
        return effects + self._start_round(entry, now)

    def _drop(self, instance: str, now: float) -> list[DialEffect]:
        effects = self._stop_round(self._entries[instance])
        self._forget.cancel(instance)
        del self._entries[instance]
        return effects + self._dial(now)

    def _start_round(self, entry: _Entry, now: float) -> list[DialEffect]:
        problem = self._key_problem(entry.candidate)
        if problem is not None:
            entry.problem = problem
            return self._dial(now)
        entry.todo = list(entry.candidate.endpoints[:_MAX_ENDPOINTS])
        self._queue(entry)
        return self._dial(now)

    def _unlink(self, link: int) -> tuple[_Entry, str]:
        ended = self._links.pop(link)
        ended.entry.links.remove(link)
        self._hello.cancel(link)
        return ended.entry, ended.endpoint

    def _stop_round(self, entry: _Entry) -> list[DialEffect]:
        links = entry.links.copy()
        for link in links:
            self._unlink(link)
        entry.todo.clear()
        self._waiting.pop(entry.candidate.instance, None)
        self._redial.cancel(entry.candidate.instance)
        return [Hangup(link) for link in links]

    def _queue(self, entry: _Entry) -> None:
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
            self._links[self._last_link] = _Link(entry, endpoint)
            entry.links.append(self._last_link)
            self._hello.set(self._last_link, now + self._settings.hello_s)
            self._queue(entry)
            effects.append(Dial(self._last_link, endpoint, entry.candidate))
        return effects

    def _pause(self, entry: _Entry, now: float) -> None:
        seconds = min(self._settings.redial_min_s * 2.0**entry.failures, self._settings.redial_max_s)
        if entry.lost_at is not None and now - entry.lost_at < self._settings.forget_s:
            seconds = min(seconds, self._settings.redial_lost_s)
        entry.failures = min(entry.failures + 1, 32)
        self._redial.set(entry.candidate.instance, now + seconds * self._rng.uniform(0.75, 1.25))

    def _silence(self, link: int) -> str:
        if self._links[link].up:
            return f"connected, but HELLO was not answered within {self._settings.hello_s:g} s: is it a node?"
        return f"no connection within {self._settings.hello_s:g} s: is the host up, the port open, the key ours?"

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


def _is_expendable(entry: _Entry) -> bool:
    return not entry.settled and entry.candidate.source == MDNS
