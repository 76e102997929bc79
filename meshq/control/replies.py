"""The replies to a control command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from meshq.control.matching import matches
from meshq.core.broadcast import NOT_WAITED_FOR


class Replies(list[dict[str, Any]]):
    """A list of ``{"NAME@HOST": value}``, in the order of arrival.

    A value is ``{"ok": …}`` or ``{"error": text}``, with further fields of the command's own. ``missing`` maps
    each node that was expected and is not in the list to the reason.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missing: dict[str, str] = {}

    def by_node(self) -> dict[str, Any]:
        """Return the replies as one dict, NAME@HOST → value."""
        return {name: value for reply in self for name, value in reply.items()}


def merge(parts: Sequence[Replies]) -> Replies:
    """Return the replies to commands that were cut from one, a node's as one: the fields of "ok" together.

    Where a node has answered only some of the commands, or one with an error, its reply has an "error" too.
    """
    values: dict[str, dict[str, Any]] = {}
    missing: dict[str, str] = {}
    for part in parts:
        for name, value in part.by_node().items():
            merged = values.setdefault(name, {"ok": {}})
            said = value.get("ok") if isinstance(value, dict) else None
            if isinstance(said, dict):
                merged["ok"].update(said)
            else:
                merged["error"] = value["error"] if isinstance(value, dict) and "error" in value else repr(value)
        missing.update(part.missing)
    replies = Replies()
    for name, reason in missing.items():
        if name not in values:
            replies.missing[name] = reason
        elif reason != NOT_WAITED_FOR:
            values[name].setdefault("error", f"some of the ids were not answered: {reason}")
    replies.extend({name: value} for name, value in values.items())
    return replies


UNFOUND = "no node of that name was found"


def name_unfound(replies: Replies, destination: Iterable[str]) -> None:
    """Count as missing who was asked for by name and is not among the nodes that were seen."""
    names = {*replies.by_node(), *replies.missing}
    for wanted in destination:
        if not any(matches(name, [wanted], "") for name in names):
            replies.missing[wanted] = UNFOUND
