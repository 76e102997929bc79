"""The table of control commands that a node carries out."""

from __future__ import annotations

import signal as signals
from collections.abc import Callable
from typing import Any, Protocol

import msgpack

from meshq.errors import ConfigError, MeshqError
from meshq.ids import ID_BYTES, format_id
from meshq.protocol.messages import Command

Answer = Callable[[dict[str, Any]], None]

MAX_REVOKED_AT_ONCE = 5_000
"""What one command may ask to revoke, so that the reply, some 64 bytes for each, can be sent. ``Control.revoke``
makes several commands of a longer list."""


class NodeControl(Protocol):
    """What the commands ask of the node."""

    def describe(self) -> dict[str, Any]: ...
    def revoke(self, tasks: list[bytes], signal: int, answer: Callable[[dict[bytes, str]], None]) -> None: ...


def _ping(node: NodeControl, arguments: dict[str, Any], answer: Answer) -> None:
    answer({"ok": "pong", **node.describe()})


def _revoke(node: NodeControl, arguments: dict[str, Any], answer: Answer) -> None:
    tasks, terminate = arguments.get("tasks"), arguments.get("terminate", False)
    if not isinstance(tasks, list) or not all(isinstance(t, bytes) and len(t) == ID_BYTES for t in tasks):
        raise ConfigError("revoke needs tasks, a list of ids of 16 bytes")
    if len(tasks) > MAX_REVOKED_AT_ONCE:
        raise ConfigError(f"a revoke takes at most {MAX_REVOKED_AT_ONCE} ids (got {len(tasks)}): send several")
    name = f"SIG{arguments.get('signal', 'TERM')}"
    if name not in signals.Signals.__members__:
        raise ConfigError(f"{name} is not a signal here")
    number = int(signals.Signals[name]) if terminate else 0
    node.revoke(
        tasks,
        number,
        lambda outcome: answer({"ok": {format_id(task): text for task, text in outcome.items()}}),
    )


COMMANDS: dict[str, Callable[[NodeControl, dict[str, Any], Answer], None]] = {"ping": _ping, "revoke": _revoke}


def carry_out(node: NodeControl, command: Command, answer: Answer) -> None:
    """Carry out a command; whatever is wrong with it is the answer. ``answer`` may be called later."""
    handler = COMMANDS.get(command.name)
    try:
        arguments = msgpack.unpackb(command.arguments, strict_map_key=True)
        if not isinstance(arguments, dict):
            raise ConfigError("the arguments of a command must be a map")
        if handler is None:
            raise ConfigError(f"there is no control command {command.name!r}; there are {', '.join(COMMANDS)}")
        handler(node, arguments, answer)
    except (MeshqError, ValueError, msgpack.UnpackException) as error:
        answer({"error": str(error)})
