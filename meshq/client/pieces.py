"""A result that is too large for one reply: brought from the node that has it, piece after piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from meshq.client.asking import Report
from meshq.errors import RemoteProtocolError


class AskNodes(Protocol):
    """Gives a command to the nodes named, or to all; see ``MeshControl.ask_nodes``. In the loop's thread."""

    def __call__(
        self,
        name: str,
        arguments: dict[str, Any],
        destination: list[str],
        on_reply: Callable[[str, Any], None],
        on_finish: Callable[[dict[str, str]], None],
        /,
    ) -> None: ...


class Pieces:
    """One result on its way, of which ``report`` tells all but its payload.

    ``on_end`` gets the report with its payload; or None where the node has it no more, or does not answer.
    """

    def __init__(
        self,
        ask: AskNodes,
        task_id: bytes,
        node: str,
        report: Report,
        on_end: Callable[[Report | None], None],
    ) -> None:
        self._ask = ask
        self._task_id = task_id
        self._node = node
        self._report = report
        self._on_end = on_end
        self._pieces: list[bytes] = []
        self._offset = 0
        self._attempt: int | None = None
        self._reply: Any = None

    def begin(self) -> None:
        """Ask for the next piece."""
        self._reply = None
        arguments = {"task": self._task_id, "offset": self._offset}
        self._ask("result_piece", arguments, [self._node], self._on_reply, self._on_finish)

    def _on_reply(self, name: str, reply: Any) -> None:
        self._reply = reply

    def _on_finish(self, missing: dict[str, str]) -> None:
        try:
            self._take(self._reply)
        except RemoteProtocolError:
            self._on_end(None)
            return
        if self._offset < self._report.size:
            self.begin()
        else:
            self._on_end(self._report._replace(payload=b"".join(self._pieces), gone=False, size=0))

    def _take(self, reply: Any) -> None:
        """Add a piece. Raises ``RemoteProtocolError`` where it is none of this result."""
        said = reply if isinstance(reply, dict) else {}
        piece, attempt = said.get("ok"), said.get("attempt")
        is_first = self._attempt is None
        is_of_it = said.get("size") == self._report.size and (is_first or attempt == self._attempt)
        if not isinstance(piece, bytes) or not piece or not is_of_it:
            raise RemoteProtocolError(f"no piece of a result: {said.get('error', '')}")
        self._attempt = attempt
        self._pieces.append(piece)
        self._offset += len(piece)
