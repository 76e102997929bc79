"""The number of slots, changed while the node serves: new ones start at once, surplus ones end after their run."""

from __future__ import annotations

from meshq.core.clients import Clients
from meshq.core.dispatch import Dispatch
from meshq.core.holding import HolderEffect, ResizeAsked, StartWorker, StopWorker
from meshq.core.slots import Slot


class Resizing:
    """Adds slots and takes them away; ``effects`` is where the holder gathers what it asks for."""

    def __init__(self, dispatch: Dispatch, clients: Clients, effects: list[HolderEffect]) -> None:
        self._dispatch = dispatch
        self._clients = clients
        self._effects = effects
        self._closing: set[int] = set()
        """Slots that end after their run; they count no more."""

    def on_resize(self, event: ResizeAsked, now: float) -> None:
        """Have so many slots from now on; idle ones go first, and of those the newest."""
        slots = [slot for slot in self._dispatch.slots if slot.number not in self._closing]
        for _ in range(event.slots - len(slots)):
            self._effects.append(StartWorker(self._dispatch.slots.add().number))
        slots.sort(key=lambda slot: (bool(slot.runs), slot.ready, -slot.number))
        for slot in slots[: max(0, len(slots) - event.slots)]:
            self._close(slot)
        self._clients.resize(event.slots)

    def on_gone(self, slot: int) -> None:
        """Take away a slot that was to end and whose worker has."""
        if slot in self._closing:
            self._closing.discard(slot)
            self._dispatch.slots.remove(slot)

    def _close(self, slot: Slot) -> None:
        self._effects.extend(self._dispatch.close(slot))
        if slot.runs:
            self._closing.add(slot.number)
        else:
            self._dispatch.slots.remove(slot.number)
        self._effects.append(StopWorker(slot.number))
