"""Dead letters: tasks that have killed a worker each time they ran, as their owners tell a node of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from meshq.core.held import ClientAccount
from meshq.protocol.messages import Dead

MAX_DEAD = 1_000
"""As many as are remembered, the latest. The threat: a client that tells of a million."""
_LONGEST_NAME, _LONGEST_STORY = 200, 2_000
"""Characters of each, for the same reason."""


class DeadView(NamedTuple):
    """One task that was given up, ``seconds`` ago; ``story`` says what became of each attempt."""

    task: bytes
    function: str
    story: str
    seconds: float


class DeadLetters:
    """What owners have told this node."""

    def __init__(self) -> None:
        self._letters: OrderedDict[bytes, tuple[str, str, float]] = OrderedDict()

    def on_dead(self, client: ClientAccount, message: Dead, now: float) -> None:
        """Take note of a task that was given up."""
        self._letters.pop(message.task, None)
        if len(self._letters) >= MAX_DEAD:
            self._letters.popitem(last=False)
        letter = message.function[:_LONGEST_NAME], message.story[:_LONGEST_STORY], now
        self._letters[message.task] = letter

    def views(self, now: float) -> Iterator[DeadView]:
        """Yield them, the latest first."""
        for task, (function, story, at) in reversed(self._letters.items()):
            yield DeadView(task, function, story, now - at)
