"""The commands that change what a node does."""

from __future__ import annotations

import signal as signals

from meshq.control.asking import Ask, PurgeOutcome, Verb
from meshq.control.checks import (
    check_flag,
    check_ids,
    check_order,
    check_rate,
    check_seconds,
    check_signal,
    check_slots,
    check_task_name,
)
from meshq.errors import ConfigError
from meshq.ids import format_id

_MAX_NAMES = 20
"""How many functions an error names."""
_UNITS = ((1.0, "s"), (60.0, "m"), (3600.0, "h"))


def format_rate(rate: float) -> str:
    """Write a rate, in runs a second, as people do: by the first unit in which it is a whole number."""
    for unit_s, unit in _UNITS:
        count = rate * unit_s
        if round(count) >= 1 and abs(count - round(count)) < 1e-9 * count:
            return f"{round(count)}/{unit}"
    return f"{rate:g}/s"


def format_limits(soft: float | None, hard: float | None) -> str:
    """Write time limits, at least one of which is set."""
    limits = {"soft": soft, "hard": hard}
    return ", ".join(f"{name} {seconds:g} s" for name, seconds in limits.items() if seconds is not None)


def _revoke(ask: Ask, tasks: list[bytes], terminate: bool = False, signal: str = "TERM") -> None:
    number = int(signals.Signals[f"SIG{signal}"]) if terminate else 0

    def answer(outcome: dict[bytes, str]) -> None:
        ask.answer({"ok": {format_id(task): text for task, text in outcome.items()}})

    ask.node.revoke(tasks, number, ask.command.command, ask.command.seconds, answer)


def _rate_limit(ask: Ask, task_name: str, rate: float) -> None:
    task_name = _offered(ask, task_name)
    ask.node.rate_limit(task_name, rate)
    text = f"is {format_rate(rate)} here" if rate else "is lifted here"
    ask.answer({"ok": f"rate limit of {task_name} {text}"})


def _time_limit(ask: Ask, task_name: str, soft: float | None = None, hard: float | None = None) -> None:
    check_order(soft, hard)
    task_name = _offered(ask, task_name)
    ask.node.time_limit(task_name, soft, hard)
    lifted = soft is None and hard is None
    text = "are lifted here" if lifted else f"are {format_limits(soft, hard)} here"
    ask.answer({"ok": f"time limits of {task_name} {text}"})


def _offered(ask: Ask, task_name: str) -> str:
    """Return the name by which the node offers a function."""
    names = sorted(ask.node.functions())
    name = ask.node.canonical(task_name)
    if name in names:
        return name
    offered = ", ".join(names[:_MAX_NAMES]) or "none: name modules, as in 'meshq node photos'"
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    raise ConfigError(f"{ask.node.name} offers no function {task_name!r}; it offers {offered}{more}")


def _purge(ask: Ask) -> None:
    def answer(outcome: PurgeOutcome) -> None:
        clients = {client.hex(): count for client, count in outcome.clients.items()}
        ask.answer({"ok": outcome.own, "clients": clients, "silent": outcome.silent})

    ask.node.purge(ask.command.command, ask.command.seconds, answer)


def _pool_resize(ask: Ask, n: int) -> None:
    ask.node.resize(n)
    ask.answer({"ok": f"{n} slot{'s' * (n > 1)}", "slots": n})


def _drain(ask: Ask) -> None:
    ask.answer({"ok": "draining"})
    ask.node.drain()


def _shutdown(ask: Ask) -> None:
    ask.answer({"ok": "shutting down"})  # first, as nothing is sent after the end
    ask.node.shutdown()


def _forget(ask: Ask, tasks: list[bytes]) -> None:
    ask.answer({"ok": sum(map(ask.node.forget, tasks))})


STEERING: dict[str, Verb] = {
    "revoke": Verb(_revoke, {"tasks": check_ids}, {"terminate": check_flag, "signal": check_signal}),
    "rate_limit": Verb(_rate_limit, {"task_name": check_task_name, "rate": check_rate}),
    "time_limit": Verb(
        _time_limit, {"task_name": check_task_name}, {"soft": check_seconds, "hard": check_seconds}
    ),
    "purge": Verb(_purge),
    "pool_resize": Verb(_pool_resize, {"n": check_slots}),
    "drain": Verb(_drain),
    "shutdown": Verb(_shutdown),
    "forget": Verb(_forget, {"tasks": check_ids}),
}
"""The commands of this module, by name."""
