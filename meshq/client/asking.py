"""What the nodes know of a task, asked by its id: for results of tasks that another process has submitted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from meshq.client.nodes import NodeInfo
from meshq.client.outcomes import decode, error_of
from meshq.core.owned import ENDING_OF_STATUS, STATE_OF_ENDING, Ending, Outcome, OwnedTask
from meshq.errors import ConfigError, RemoteProtocolError, ResultGone
from meshq.ids import format_id
from meshq.protocol.messages import Status

if TYPE_CHECKING:
    from meshq.control.control import Control
    from meshq.control.replies import Replies

UNKNOWN = "UNKNOWN"
ASK_S = 1.0
"""How long nodes are given to answer."""
_LEAST_S = 0.2
"""The same where the caller has no time left: enough for a node that is well."""
COLD_S = 2.0
"""How long a first node is waited for: mDNS and HELLO take some 100 ms."""
_UNKNOWN_S = 1.0
"""How long a task that nobody knows may be on its way to a node."""
_FORGET_PAUSE_S = 0.05
"""Acknowledgements are that late."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.02, 0.5

_KINDS = {"state": str, "status": int, "serializer": str, "payload": bytes, "gone": bool}
"""The fields of an answer."""
_MAY_KINDS = {"owner": bytes, "size": int, "left_out": bool}
"""Those that only some have."""
_RANKS: dict[str, int] = {
    UNKNOWN: 0, "PENDING": 1, "RETRY": 1, "QUEUED": 2, "STARTED": 3,
    "FAILURE": 4, "REVOKED": 4, "EXPIRED": 4, "LOST": 4, "DONE": 5,
}  # fmt: skip
"""Of several answers the highest counts: a task that was sent elsewhere may be known to two nodes."""


class AskedMesh(Protocol):
    """The mesh whose nodes are asked."""

    @property
    def control(self) -> Control: ...
    def wait_for_nodes(self, count: int = 1, timeout: float | None = 10.0) -> list[NodeInfo]: ...


class Report(NamedTuple):
    """What the nodes know of one task."""

    state: str = UNKNOWN
    status: int = Status.OK
    serializer: str = ""
    payload: bytes = b""
    gone: bool = False
    """It has ended, and its value is not kept."""
    with_value: bool = True
    """Whether the value was asked for."""
    silent: str = ""
    """Who was asked and did not say, and why; for people."""
    owner: bytes = b""
    """What stands for its owner, where the node still holds it for that one."""
    size: int = 0
    """Where it is gone: what of it can be had in pieces, in bytes."""
    left_out: bool = False
    """Its value had no room in this answer, and is to be asked for again."""

    @property
    def has_ended(self) -> bool:
        """Whether the task has ended, in whichever way."""
        return _RANKS[self.state] >= _RANKS["FAILURE"]

    @property
    def ending(self) -> Ending:
        """How it has ended."""
        return ENDING_OF_STATUS.get(self.status, Ending.FAILURE)

    def settle(self, task_id: bytes, asked: str) -> tuple[Any, BaseException | None]:
        """Return the value of a task that is DONE, or the exception of one that is not; ``ResultGone``.

        ``asked`` is the serializer that it was submitted with, "" where that is not known: then anything but a
        pickle is loaded, which could run what it likes.
        """
        ending = self.ending
        if self.gone and ending in (Ending.DONE, Ending.FAILURE):
            raise ResultGone(
                f"task {format_id(task_id)} has ended as {self.state}, and its result is not kept: nodes keep "
                "results of up to 64 KiB, and as many of them as there is room for"
            )
        if ending is Ending.DONE:
            return self._value(asked), None
        text = self.payload.decode("utf-8", "replace") if ending is Ending.WORKER_LOST else ""
        return None, error_of(OwnedTask(task_id, "", "", b""), Outcome(ending, "", self.payload, text))

    def _value(self, asked: str) -> Any:
        if self.serializer == "pickle" != asked:
            raise RemoteProtocolError(
                "the result is a pickle, which could run any code here: if you trust the nodes, "
                "ask with serializer='pickle'"
            )
        try:
            return decode(self.payload, self.serializer, asked or self.serializer)
        except ConfigError as error:
            raise RemoteProtocolError(f"the result cannot be read here: {error}") from None


def ask(mesh: AskedMesh, task_id: bytes, *, value: bool, timeout: float = ASK_S, cold: float = COLD_S) -> Report:
    """Return what the nodes know of a task; ``NoNodes`` where none is found within ``cold`` seconds."""
    mesh.wait_for_nodes(1, cold)
    replies = mesh.control.broadcast("result", {"tasks": [task_id], "value": value}, reply=True, timeout=timeout)
    assert replies is not None
    return best(replies, task_id, value)


def best(replies: Replies, task_id: bytes, value: bool) -> Report:
    """Return the answer of the replies that says most."""
    found = Report(with_value=value)
    silent = dict(replies.missing)
    for name, reply in replies.by_node().items():
        try:
            report = read_row(rows_of(reply), task_id, value)
        except RemoteProtocolError as error:
            silent[name] = str(error)
        else:
            found = max(found, report, key=lambda each: (_RANKS[each.state], not each.gone))
    return found._replace(silent=", ".join(f"{name} ({why})" for name, why in silent.items()))


def rows_of(reply: Any) -> dict[Any, Any]:
    """Return what one node has said, by task. Raises ``RemoteProtocolError``."""
    tasks = reply.get("ok") if isinstance(reply, dict) else None
    if not isinstance(tasks, dict):
        said = reply.get("error", reply) if isinstance(reply, dict) else reply
        raise RemoteProtocolError(str(said)[:200])
    return tasks


def read_row(rows: dict[Any, Any], task_id: bytes, value: bool) -> Report:
    """Return what one node has said of one task. Raises ``RemoteProtocolError``."""
    row = rows.get(format_id(task_id))
    if row is None:
        return Report(with_value=value)
    if not isinstance(row, dict) or not all(isinstance(row.get(name), kind) for name, kind in _KINDS.items()):
        raise RemoteProtocolError("its answer is not understood")
    more = {name: row[name] for name, kind in _MAY_KINDS.items() if isinstance(row.get(name), kind)}
    if row["state"] not in _RANKS:
        raise RemoteProtocolError(f"its answer is of a state {row['state']!r}")
    report = Report(**{name: row[name] for name in _KINDS}, **more, with_value=value)
    return report._replace(state=str(STATE_OF_ENDING[report.ending])) if report.has_ended else report


def wait_until_ended(mesh: AskedMesh, task_id: bytes, timeout: float | None) -> Report:
    """Ask until the task has ended, and return what is known of it then.

    Raises ``TimeoutError`` after ``timeout`` seconds, and ``ResultGone`` where for a second nobody knows it.
    """
    now = time.monotonic()
    end_at = float("inf") if timeout is None else now + timeout
    known_at = now
    pause = _FIRST_PAUSE_S
    while True:
        left = max(end_at - now, _LEAST_S)
        report = ask(mesh, task_id, value=True, timeout=min(left, ASK_S), cold=min(left, COLD_S))
        if report.has_ended:
            return report
        now = time.monotonic()
        if report.state != UNKNOWN:
            known_at = now
            if now >= end_at:
                raise TimeoutError(f"task {format_id(task_id)} is {report.state} after {timeout} s")
        elif now >= min(end_at, known_at + _UNKNOWN_S):
            raise ResultGone(_explain_unknown(task_id, report.silent))
        time.sleep(max(0.0, min(pause, end_at - now)))
        pause = min(2 * pause, _LONGEST_PAUSE_S)
        now = time.monotonic()


def _explain_unknown(task_id: bytes, silent: str) -> str:
    """Say why nobody may know a task, and who could not be asked."""
    text = (
        f"no node that answers knows task {format_id(task_id)}, and it is not one of this process: it still waits "
        "in the program that has submitted it, or ended more than an hour ago, or was forgotten, or never was"
    )
    return f"{text}. Not asked: {silent}" if silent else text


def forget(mesh: AskedMesh, task_id: bytes) -> None:
    """Have the nodes let go of a task's result; returns when all that answer have, or after a second.

    A node holds a result for its owner until that has acknowledged it, and only then lets go. Raises ``NoNodes``.
    """
    mesh.wait_for_nodes(1, COLD_S)
    end_at = time.monotonic() + ASK_S
    while True:
        mesh.control.broadcast("forget", {"tasks": [task_id]}, reply=True, timeout=ASK_S)
        if not ask(mesh, task_id, value=False).has_ended or time.monotonic() >= end_at:
            return
        time.sleep(_FORGET_PAUSE_S)
