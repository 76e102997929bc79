"""The number of slots, changed while the node serves: new ones start at once, surplus ones end after their run."""

from __future__ import annotations

from meshq.core.clients import Clients
from meshq.core.dispatch import Dispatch
from meshq.core.holding import HolderEffect, ResizeAsked


class Resizing:
    """Adds slots and takes them away; ``effects`` is where the holder gathers what it asks for."""

    def __init__(self, dispatch: Dispatch, clients: Clients, effects: list[HolderEffect]) -> None:
        self._dispatch = dispatch
        self._clients = clients
        self._effects = effects

    def on_resize(self, event: ResizeAsked, now: float) -> None:
        """Have so many slots from now on."""
