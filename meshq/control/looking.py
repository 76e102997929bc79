"""The commands that look at a node, and change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshq.control.asking import Ask, LimitsView, Verb
from meshq.control.checks import check_asked_ids, check_flag
from meshq.control.rows import MAX_ROWS, Rows, cut
from meshq.control.steering import format_rate
from meshq.core.owned import ENDING_OF_STATUS, STATE_OF_ENDING, Ending, TaskState
from meshq.ids import format_id
from meshq.protocol.messages import Result, Status
from meshq.protocol.payload import join_payload, payload_size

MAX_REVOKED_SHOWN = 10_000
"""As many ids as fit into one reply; a node remembers ten times as many."""
MAX_VALUES_BYTES = 384 * 1024
"""The room that one reply has for the values of tasks."""

_STATE_OF_VIEW = {"active": TaskState.STARTED, "reserved": TaskState.QUEUED, "scheduled": TaskState.PENDING}
_WITH_VALUE = (Status.OK, Status.FAILURE)
_UNFINISHED = {"status": -1, "serializer": "", "payload": b"", "gone": False}


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


def _result(ask: Ask, tasks: list[bytes], value: bool = True) -> None:
    room = MAX_VALUES_BYTES
    found: dict[str, dict[str, Any]] = {}
    for task in tasks:
        view, result = ask.node.find(task), ask.node.result(task)
        if view is not None:
            state = TaskState.RETRY if view.reason == "retry" else _STATE_OF_VIEW[view.state]
            found[format_id(task)] = {"state": str(state), **_UNFINISHED}
        elif result is not None:
            size = payload_size(result.payload) if value else 0
            found[format_id(task)] = _ended(result, room if value else -1)
            room -= size if size <= room else 0
    ask.answer({"ok": found})


def _ended(result: Result, room: int) -> dict[str, Any]:
    """Return the end of a task, with its value where there is room for it.

    ``gone``: its value is not to be had any more; ``left_out``: only in this reply.
    """
    fits = payload_size(result.payload) <= room
    said = {
        "state": str(_state(result)),
        "status": int(result.status),
        "serializer": result.serializer,
        "payload": join_payload(result.payload) if fits else b"",
        "gone": _is_gone(result),
    }
    return said if fits or room < 0 or said["gone"] else {**said, "left_out": True}


def _is_gone(result: Result) -> bool:
    too_large = payload_size(result.payload) > MAX_VALUES_BYTES
    return too_large or (result.status in _WITH_VALUE and not result.serializer)


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
    "result": Verb(_result, {"tasks": check_asked_ids}, {"value": check_flag}),
}
"""The commands of this module, by name."""
