"""``mesh.control.inspect()``: what the nodes do, hold, and are set to."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from meshq.control.checks import check_asked_ids, task_ids
from meshq.control.giving import Giving, Terms


class Inspected(dict[str, Any]):
    """NAME@HOST → what the node says; ``{"error": text}`` where it could not.

    ``missing`` maps each node that was expected and is not in the dict to the reason.
    """

    def __init__(self, values: Mapping[str, Any], missing: Mapping[str, str]) -> None:
        super().__init__(values)
        self.missing = dict(missing)


class Inspect:
    """Looks into nodes. Each method asks them, and returns as soon as all nodes expected have answered.

    A list that is too long for a reply ends with ``{"more": n}``. A task's row has ``id, name, attempt`` and
    ``priority``, ``client`` (whose it is), ``args`` and ``kwargs``, each argument as text of at most 120
    characters (those of a pickled call, and large ones, are not looked into), and ``slot`` and ``pid`` where a
    worker has it.
    """

    def __init__(self, giving: Giving, terms: Terms) -> None:
        self._giving = giving
        self._terms = terms

    def active(self) -> Inspected:
        """Return the rows of the tasks that run, with ``started_s``, how long each has run."""
        return self._ask("active")

    def reserved(self) -> Inspected:
        """Return the rows of the tasks that wait for a slot, a little ahead of one included."""
        return self._ask("reserved")

    def scheduled(self) -> Inspected:
        """Return the rows of the tasks that may not start yet.

        Each has ``eta_s``, how long until it may, as far as that is known, and ``reason``: ``countdown``,
        ``rate limit``, or ``retry`` of a detached task that has failed.
        """
        return self._ask("scheduled")

    def dead(self) -> Inspected:
        """Return rows of the tasks that were given up, as a worker died each time they ran; the latest first.

        Each has ``id``, ``name``, ``story`` and ``seconds_ago``. The node of the last attempt lists it, and the
        last 1,000 of them, until it ends.
        """
        return self._ask("dead")

    def query_task(self, *ids: str | bytes | uuid.UUID | Iterable[str | bytes | uuid.UUID]) -> Inspected:
        """Return what nodes know of these tasks: ``{id: [state, row]}``; at most 1,000 ids, or lists of them.

        A state is ``active``, ``reserved``, ``scheduled`` or ``finished``; ids unknown to a node are left out.
        """
        tasks = check_asked_ids([task for given in ids for task in task_ids(given)])
        return self._ask("query_task", {"ids": tasks})

    def registered(self) -> Inspected:
        """Return the functions that nodes offer, as ``"NAME"`` or ``"NAME [rate_limit=2/s time_limit=3.0]"``."""
        return self._ask("registered")

    def stats(self) -> Inspected:
        """Return the nodes' versions, sizes and counts."""
        return self._ask("stats")

    def revoked(self) -> Inspected:
        """Return the ids of the tasks that nodes refuse, the latest first."""
        return self._ask("revoked")

    def conf(self) -> Inspected:
        """Return the nodes' settings; of the key, only whether there is one."""
        return self._ask("conf")

    def report(self) -> Inspected:
        """Return, as ``{"ok": text}``, what a report of a fault should say of the nodes."""
        return self._ask("report", unwrap=False)

    def ping(self) -> Inspected:
        """Return ``{"ok": "pong", …}`` of each node."""
        return self._ask("ping", unwrap=False)

    def _ask(self, command: str, arguments: dict[str, Any] | None = None, unwrap: bool = True) -> Inspected:
        replies = self._giving.run([self._giving.command(command, arguments, self._terms)], self._terms)
        values = replies.by_node()
        if unwrap:
            values = {name: _said(value) for name, value in values.items()}
        return Inspected(values, replies.missing)


def _said(value: Any) -> Any:
    return value["ok"] if isinstance(value, dict) and "ok" in value else value
