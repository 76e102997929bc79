"""The commands that look at a node, and change nothing, but for how long it keeps what they ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshq.control.asking import Ask, LimitsView, Verb
from meshq.control.checks import check_asked_ids, check_flag, check_offset, check_owners, check_task
from meshq.control.rows import MAX_ROWS, Rows, cut
from meshq.control.steering import format_rate
from meshq.core.owned import ENDING_OF_STATUS, STATE_OF_ENDING, Ending, TaskState
from meshq.errors import ConfigError
from meshq.ids import format_id
from meshq.protocol.messages import Result, Status
from meshq.protocol.payload import join_payload, payload_size, slice_payload

MAX_REVOKED_SHOWN = 10_000
"""As many ids as fit into one reply; a node remembers ten times as many."""
MAX_VALUES_BYTES = 384 * 1024
"""The room that one reply has for the values of tasks; a larger value is had in pieces of that size."""

_STATE_OF_VIEW = {"active": TaskState.STARTED, "reserved": TaskState.QUEUED, "scheduled": TaskState.PENDING}
_WITH_VALUE = (Status.OK, Status.FAILURE)
_NO_STATUS = -1


def _ping(ask: Ask) -> None:
    ask.answer({"ok": "pong", **ask.node.describe()})


def _tasks(state: str) -> Callable[[Ask], None]:
    def run(ask: Ask) -> None:
        rows = Rows(ask.node.pid)
        ask.answer({"ok": rows.listed(ask.node.views(state))})

    return run


def _dead(ask: Ask) -> None:
    rows = [
        {
            "id": format_id(view.task),
            "name": view.function,
            "story": view.story,
            "seconds_ago": round(view.seconds, 1),
        }
        for view in ask.node.dead()
    ]
    ask.answer({"ok": cut(rows, MAX_ROWS)})


def _query_task(ask: Ask, ids: list[bytes]) -> None:
    rows = Rows(ask.node.pid)
    found: dict[str, list[Any]] = {}
    for task in ids:
        view, result = ask.node.find(task), ask.node.result(task)
        if view is not None and view.elsewhere:
            continue  # as with the lists, whoever has it says so
        if view is not None:
            found[format_id(task)] = [view.state, rows.row(view)]
        elif result is not None:
            info = {"id": format_id(task), "attempt": result.attempt, "state": str(_state(result))}
            found[format_id(task)] = ["finished", info]
    ask.answer({"ok": found})


def _registered(ask: Ask) -> None:
    names = sorted(ask.node.functions())
    ask.answer({"ok": cut([f"{name}{_in_force(ask.node.limits_of(name))}" for name in names], MAX_ROWS)})


def _in_force(limits: LimitsView) -> str:
    """Return what holds a function back, in brackets; "" for nothing."""
    parts = [f"rate_limit={format_rate(limits.rate)}"] if limits.rate else []
    times = {"time_limit": limits.hard, "soft_time_limit": limits.soft}
    parts += [f"{name}={seconds}" for name, seconds in times.items() if seconds is not None]
    return f" [{' '.join(parts)}]" if parts else ""


def _stats(ask: Ask) -> None:
    ask.answer({"ok": ask.node.stats()})


def _revoked(ask: Ask) -> None:
    latest = ask.node.revoked()[::-1]
    shown: list[Any] = [format_id(task) for task in latest[:MAX_REVOKED_SHOWN]]
    ask.answer({"ok": cut(shown, MAX_REVOKED_SHOWN, len(latest))})


def _conf(ask: Ask) -> None:
    ask.answer({"ok": ask.node.conf()})


def _report(ask: Ask) -> None:
    ask.answer({"ok": ask.node.report()})


def _result(ask: Ask, tasks: list[bytes], value: bool = True, owners: list[bytes] | None = None) -> None:
    owner_of = ask.node.owners(tasks)
    room = MAX_VALUES_BYTES if value else -1
    found: dict[str, dict[str, Any]] = {}
    for task in tasks:
        row = _row(ask, task, room)
        if row is not None:
            room -= len(row["payload"])
            owner = {"owner": owner_of[task]} if task in owner_of else {}
            found[format_id(task)] = row | owner
    present = {"present": ask.node.present(owners)} if owners else {}
    ask.answer({"ok": found, **present})


def _row(ask: Ask, task: bytes, room: int) -> dict[str, Any] | None:
    """Return what is known of a task here."""
    view = ask.node.find(task)
    if view is not None:
        state = TaskState.RETRY if view.reason == "retry" else _STATE_OF_VIEW[view.state]
        return _said(state, _NO_STATUS)
    result = ask.node.result(task)
    if result is not None:
        return _ended(result, _state(result), room)
    failed = ask.node.failed_try(task)
    return None if failed is None else _ended(failed, TaskState.RETRY, room)


def _said(state: TaskState, status: int, serializer: str = "", payload: bytes = b"") -> dict[str, Any]:
    return {"state": str(state), "status": status, "serializer": serializer, "payload": payload, "gone": False}


def _ended(result: Result, state: TaskState, room: int) -> dict[str, Any]:
    """Return the end of a task, or of a try, with its value where there is room for it.

    ``gone``: its value is not to be had this way; then ``size`` is that of one to be had in pieces. ``left_out``:
    there is no room for it in this reply.
    """
    size = payload_size(result.payload)
    if result.status in _WITH_VALUE and not result.serializer:
        return _said(state, int(result.status)) | {"gone": True}
    if size <= room:
        return _said(state, int(result.status), result.serializer, join_payload(result.payload))
    said = _said(state, int(result.status), result.serializer)
    if size > MAX_VALUES_BYTES:
        return said | {"gone": True, "size": size}
    return said | ({"left_out": True} if room >= 0 else {})


def _result_piece(ask: Ask, task: bytes, offset: int) -> None:
    result = ask.node.result(task) or ask.node.failed_try(task)
    if result is None:
        raise ConfigError(f"no result of task {format_id(task)} is here")
    piece = slice_payload(result.payload, offset, MAX_VALUES_BYTES)
    ask.answer({"ok": piece, "size": payload_size(result.payload), "attempt": result.attempt})


def _state(result: Result) -> TaskState:
    return STATE_OF_ENDING[ENDING_OF_STATUS.get(result.status, Ending.FAILURE)]


LOOKING: dict[str, Verb] = {
    "ping": Verb(_ping),
    "active": Verb(_tasks("active")),
    "reserved": Verb(_tasks("reserved")),
    "scheduled": Verb(_tasks("scheduled")),
    "dead": Verb(_dead),
    "query_task": Verb(_query_task, {"ids": check_asked_ids}),
    "registered": Verb(_registered),
    "stats": Verb(_stats),
    "revoked": Verb(_revoked),
    "conf": Verb(_conf),
    "report": Verb(_report),
    "result": Verb(_result, {"tasks": check_asked_ids}, {"value": check_flag, "owners": check_owners}),
    "result_piece": Verb(_result_piece, {"task": check_task, "offset": check_offset}),
}
"""The commands of this module, by name."""
