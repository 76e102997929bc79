"""Who waits to hear whether a task was withdrawn."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Withdrawals:
    """The withdrawals under way. ``withdraw`` asks for tasks back, ``post`` runs a call in the loop's thread."""

    def __init__(self, withdraw: Callable[[list[bytes]], None], post: Callable[..., None]) -> None:
        self._withdraw = withdraw
        self._post = post
        self._waiting: dict[bytes, list[tuple[threading.Event, list[bool]]]] = {}

    def ask(self, task_id: bytes, timeout: float, in_loop: bool) -> bool:
        """Withdraw a task unless it runs; return whether it was, as far as is known after ``timeout`` seconds."""
        event, answer = threading.Event(), [False]
        if in_loop:
            self._begin(task_id, event, answer)
        else:
            self._post(self._begin, task_id, event, answer)
            event.wait(timeout)
        return answer[0]

    def answered(self, task_id: bytes, withdrawn: bool) -> None:
        """Tell whoever waits. For the loop's thread."""
        for event, answer in self._waiting.pop(task_id, ()):
            answer[0] = withdrawn
            # Not before the future is settled, which follows: who waits may look at it at once.
            self._post(event.set)

    def end(self) -> None:
        """Let nobody wait any more."""
        for waiting in list(self._waiting.values()):
            for event, _ in waiting:
                event.set()

    def _begin(self, task_id: bytes, event: threading.Event, answer: list[bool]) -> None:
        self._waiting.setdefault(task_id, []).append((event, answer))
        self._withdraw([task_id])
