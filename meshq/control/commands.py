"""The table of control commands, and how a node carries one out."""

from __future__ import annotations

import logging

import msgpack

from meshq.control.asking import Answer, Ask, NodeControl, Verb
from meshq.control.checks import check_timeout
from meshq.control.looking import LOOKING
from meshq.control.steering import STEERING
from meshq.errors import ConfigError, MeshqError
from meshq.protocol.messages import Command

log = logging.getLogger("meshq.control")

COMMANDS: dict[str, Verb] = {**STEERING, **LOOKING}
"""All commands that are meshq's own, by name; any other is a user's."""


def carry_out(node: NodeControl, command: Command, answer: Answer) -> None:
    """Carry out a command; whatever is wrong with it is the answer. ``answer`` may be called later."""
    try:
        check_timeout(command.seconds)  # a deadline made of NaN would never come, nor would any after it
        given = msgpack.unpackb(command.arguments, strict_map_key=True)
        if not isinstance(given, dict):
            raise ConfigError("the arguments of a command must be a map")
        verb = COMMANDS.get(command.name)
        if verb is None:
            node.user_command(command.name, given, command.seconds, answer)
        else:
            verb.run(Ask(node, command, answer), **verb.read(command.name, given))
    except (MeshqError, ValueError, msgpack.UnpackException) as error:
        answer({"error": str(error)})
    except Exception as error:  # the node must live on, and whoever asked must hear of it
        log.exception("the control command %s failed", command.name, extra={"node": node.name})
        answer({"error": f"the command failed at the node: {type(error).__name__}: {error}"})
