"""What a purge has discarded: many nodes and clients count, and each task is to be counted once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from meshq.control.replies import Replies
from meshq.core.broadcast import NO_REPLY


class Purged(int):
    """The number of waiting tasks that were discarded.

    ``missing`` maps each node or client (``pid 123 on HOST``) that was silent to the reason: what these have
    discarded is not in the number. ``replies`` has what each node said.
    """

    missing: dict[str, str]
    replies: Replies


def count_purged(replies: Replies, own: Mapping[str, int]) -> Purged:
    """Return the sum of what nodes and clients have discarded; ``own`` is this client's count, by its id in hex.

    A node counts what it owns itself, or holds for owners that are silent; each client counts its own tasks, and
    says the same to each node that asks it, so that it counts once, by its id.
    """
    discarded, clients = 0, dict(own)
    silent: dict[str, None] = {}
    for value in replies.by_node().values():
        if not isinstance(value, dict) or "error" in value:
            continue
        discarded += _number(value.get("ok"))
        for client, count in _dict(value.get("clients")).items():
            clients[client] = max(_number(count), clients.get(client, 0))
        silent.update(dict.fromkeys(_list(value.get("silent"))))
    purged = Purged(discarded + sum(clients.values()))
    purged.missing = {**replies.missing, **dict.fromkeys(map(str, silent), NO_REPLY)}
    purged.replies = replies
    return purged


def _number(value: Any) -> int:
    return max(0, value) if isinstance(value, int) else 0


def _dict(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
