"""Which of the other nodes a node is connected to, of all that it knows."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import inf
from typing import NamedTuple

from meshq.core.membership import Candidate

WANTED = 3
"""How many peers a node has: what one of them is told, all others hear of within a few hops."""
TRIED = 6
"""How many candidates are dialled at a time: those of lost peers are kept, as a cut may be our own."""
AGAIN_S = 10.0
"""How long a candidate that did not answer is passed over."""

Standing = Callable[[str], "tuple[bytes | None, str]"]
"""Of a candidate: the node that answers there, or None, and the code of its last problem."""


class Change(NamedTuple):
    """What is to be done: dial these candidates, hang up those."""

    dial: list[Candidate]
    drop: list[str]


class PeerChoice:
    """Chooses at random, and another one where a peer does not answer.

    ``is_busy(node)`` says whether a peer has work of ours: one too many is kept until it has none.
    The table is as long as discovery lets it become.
    """

    def __init__(self, own: bytes, rng: random.Random, is_busy: Callable[[bytes], bool] = lambda _: False) -> None:
        self.known: dict[str, Candidate] = {}
        """All candidates but this node itself, by instance."""
        self.ended: set[str] = set()
        """Those of ``known`` whose process is known to be no more."""
        self.chosen: dict[str, None] = {}
        self._own = own
        self._rng = rng
        self._is_busy = is_busy
        self._answered: set[str] = set()
        """Those chosen that have once answered."""
        self._failed_at: dict[str, float] = {}

    def see(self, candidate: Candidate) -> None:
        """Take in a candidate, new or changed or announced anew."""
        self.known[candidate.instance] = candidate
        self.ended.discard(candidate.instance)
        self._failed_at.pop(candidate.instance, None)

    def lose(self, instance: str) -> None:
        """Take in that a candidate is no longer announced."""
        self.known.pop(instance, None)
        self.ended.discard(instance)
        self._failed_at.pop(instance, None)

    def review(self, standing: Standing, now: float) -> Change:
        """Return what is to be changed, which is taken for done."""
        change = Change([], [])
        answering: set[bytes] = set()
        pending = 0
        for instance in list(self.chosen):
            node, code = standing(instance)
            if node is not None:
                self._on_answer(instance, node, answering, change)
            elif not code and instance in self.known:
                pending += 1
            else:
                self._on_silence(instance, code, now, change)
        while len(answering) + pending < WANTED and (spare := self._spare(now)) is not None:
            if len(self.chosen) >= TRIED:
                lost = next((each for each in self.chosen if standing(each)[1]), None)
                if lost is None:
                    break  # all lead to the same few nodes
                self._drop(lost, now, change)
            self.chosen[spare] = None
            change.dial.append(self.known[spare])
            pending += 1
        return change

    def _on_answer(self, instance: str, node: bytes, answering: set[bytes], change: Change) -> None:
        if node == self._own:
            self.lose(instance)
            self._forget(instance, change)
        elif len(answering) >= WANTED and node not in answering and not self._is_busy(node):
            self._forget(instance, change)
        else:
            answering.add(node)
            self._answered.add(instance)

    def _on_silence(self, instance: str, code: str, now: float, change: Change) -> None:
        """Give up a candidate for another one, unless it was a peer and may be so again."""
        if code == "refused":
            self.ended.add(instance)
        if instance not in self.known:
            self._forget(instance, change)
        elif (code != "silent" or instance not in self._answered) and self._spare(now) is not None:
            self._drop(instance, now, change)

    def _drop(self, instance: str, now: float, change: Change) -> None:
        self._failed_at[instance] = now
        self._forget(instance, change)

    def _forget(self, instance: str, change: Change) -> None:
        del self.chosen[instance]
        self._answered.discard(instance)
        change.drop.append(instance)

    def _spare(self, now: float) -> str | None:
        """Return a candidate that is not dialled and has not failed just now, or None."""
        spares = [
            instance
            for instance in self.known
            if instance not in self.chosen and now - self._failed_at.get(instance, -inf) >= AGAIN_S
        ]
        return self._rng.choice(spares) if spares else None
