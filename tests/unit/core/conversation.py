"""Talking with a pure machine: an event in, then exactly these effects out, and nothing else."""

from __future__ import annotations

from typing import Any, Protocol

from meshq.core.events import Send
from meshq.protocol.messages import Holding


class Machine(Protocol):
    """What all pure machines have in common."""

    def handle(self, event: Any, now: float) -> list[Any]: ...
    def tick(self, now: float) -> list[Any]: ...
    def next_deadline(self) -> float | None: ...


class Conversation:
    """Says events to a machine and compares its effects; whatever is not expected is a failure."""

    def __init__(self, machine: Machine, now: float = 0.0) -> None:
        self.machine = machine
        self.now = now
        self._unheard: list[Any] = []
        self._lines: list[str] = []
        self.is_asked = False
        """Whether it counts that an owner asks its nodes, now and then, what they have."""

    def say(self, event: Any, *, at: float | None = None) -> None:
        """Let the machine handle an event, now or at a later time."""
        self.end()
        self.now = self.now if at is None else at
        self._lines.append(f"{self.now:8.3f} >> {event}")
        self._hear(self.machine.handle(event, self.now))

    def wait(self, until: float) -> None:
        """Let time pass; the machine ticks whenever it asked to."""
        self.end()
        while (due := self.machine.next_deadline()) is not None and due <= until:
            self.now = max(self.now, due)
            self._hear(self.machine.tick(self.now))
        self.now = until

    def expect(self, *effects: Any) -> None:
        """Assert that these effects come next, in this order."""
        count = len(effects)
        heard, self._unheard = self._unheard[:count], self._unheard[count:]
        if heard != list(effects):
            wanted = "\n".join(f"            {effect}" for effect in effects)
            raise AssertionError(f"expected\n{wanted}\nbut got\n{self._transcript(heard)}")

    def take(self) -> list[Any]:
        """Return the effects not yet expected, for a test that looks at them itself."""
        effects, self._unheard = self._unheard, []
        return effects

    def end(self) -> None:
        """Assert that nothing was said beyond what was expected."""
        if self._unheard:
            raise AssertionError(f"nothing more was expected, but got\n{self._transcript(self._unheard)}")

    def _hear(self, effects: list[Any]) -> None:
        self._lines += [f"{self.now:8.3f} << {effect}" for effect in effects]
        if not self.is_asked:
            effects = [heard for effect in effects if (heard := _without_asking(effect)) is not None]
        self._unheard += effects

    def _transcript(self, effects: list[Any]) -> str:
        rows = [f"            {effect}" for effect in effects] or ["            nothing"]
        return "\n".join([*rows, "after", *self._lines])


def _without_asking(effect: Any) -> Any:
    """Return the effect without questions of what a node has; None where nothing else is left."""
    if not isinstance(effect, Send):
        return effect
    messages = [message for message in effect.messages if not isinstance(message, Holding)]
    return Send(effect.peer, messages) if messages else None
