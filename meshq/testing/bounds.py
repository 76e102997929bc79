"""Tables that a peer can grow: how large each is, and how large it may be; and a mesh where they are all small."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from meshq.core import (
    admission,
    callers,
    clients,
    dead,
    discarding,
    entrusting,
    kept,
    pace,
    parking,
    purging,
    recalls,
    reconciling,
    relaying,
    withdrawals,
)  # fmt: skip
from meshq.core.kept import _Generations
from meshq.core.reconciling import Reconciling
from meshq.node import entrusted

if TYPE_CHECKING:
    from meshq.testing.client import SimClient
    from meshq.testing.node import SimNode

_SMALL: tuple[tuple[ModuleType, str, int], ...] = (
    (callers, "ROUTES_EACH", 2),
    (dead, "MAX_DEAD", 1),
    (entrusted, "MAX_ATTEMPTS", 8),
    (entrusting, "ENTRUSTED_BYTES", 30_000),
    (admission, "MAX_KEPT", 12),
    (kept, "MAX_STATES", 60),
    (kept, "MAX_BYTES", 40_000),
    (kept, "MAX_PAYLOAD_BYTES", 1_000),
    (pace, "MAX_CREDIT", 6),
    (pace, "_MAX_FUNCTIONS", 3),
    (parking, "MAX_PARKED", 8),
    (purging, "MAX_UNDER_WAY", 1),
    (reconciling, "MAX_PAIRS", 2),
    (withdrawals, "MAX_PAIRS", 2),
    (relaying, "PAGE", 2),
)
"""Small limits that take nothing from what is promised. Tombs, say, are as many as come late copies."""
_REVOKED = 6
_LARGEST = 64 * 1024
"""Bytes of the largest task of a scenario: the last one that is taken may go past a budget by so much."""


@contextmanager
def small_tables() -> Iterator[None]:
    """Let tables be small, so that their bounds are reached in short scenarios too."""
    before = [getattr(module, name) for module, name, _ in _SMALL]
    for module, name, limit in _SMALL:
        setattr(module, name, limit)
    try:
        yield
    finally:
        for (module, name, _), limit in zip(_SMALL, before, strict=True):
            setattr(module, name, limit)


def refuse_few(node: SimNode) -> None:
    """Let a node have room for a few revoked ids only."""
    node.holder._revocations._limit = _REVOKED


def node_overflows(node: SimNode) -> Iterator[str]:
    """Yield which tables of a node are larger than they may be."""
    held, own = node.holder, node.entrusted
    remembered, known = held._endings.tombs, node.front.callers
    yield from _over("tombs", len(remembered), 2 * remembered._limit)
    yield from _over("states kept", _weight(held._kept._states), kept.MAX_STATES)
    yield from _over("values kept", _weight(held._kept._values), kept.MAX_BYTES // (kept._OVERHEAD + 1))
    yield from _over("dead letters", len(held.dead._letters), dead.MAX_DEAD)
    yield from _over("revoked ids", len(held._revocations._expiry), held._revocations._limit)
    yield from _over("revokes under way", len(held._recalls._revokes), recalls.MAX_WAITING)
    yield from _over("purges under way", len(held._purging._purges), purging.MAX_UNDER_WAY)
    yield from _over("clients", len(held._accounts), clients.MAX_CLIENTS)
    yield from _over("callers", len(known._secrets), callers.MAX_CALLERS)
    yield from _over("routes of a caller", max(map(len, known._routes.values()), default=0), callers.ROUTES_EACH)
    yield from _over("attempts of entrusted tasks", len(own._attempts), entrusted.MAX_ATTEMPTS)
    yield from _over("bytes entrusted", held._entrusting.bytes, entrusting.ENTRUSTED_BYTES + _LARGEST)
    yield from _over("functions known", len(held._dispatch.means._means), pace._MAX_FUNCTIONS)
    # What was queued before a rate was set may be parked on top of that.
    most_held = len(held._accounts) * admission.MAX_KEPT
    yield from _over("attempts parked", held._parking.count, parking.MAX_PARKED + most_held)
    for client in held._accounts.values():
        most = admission.MAX_KEPT + parking.MAX_PARKED + entrusting.ENTRUSTED_BYTES // entrusting._OVERHEAD
        yield from _over("attempts of a client", len(client.held), most + 1)


def client_overflows(client: SimClient) -> Iterator[str]:
    """Yield which tables of a client are larger than they may be."""
    owner, dialling = client.owner, client.session.membership._dialling
    yield from _over("purges known", len(owner._discarding._purges), discarding.MAX_KNOWN)
    yield from _over("functions known", len(owner._means._means), pace._MAX_FUNCTIONS)
    yield from _over("candidates", len(dialling._entries), dialling._settings.candidates)
    yield from _over("hints", len(dialling._hints), dialling._settings.hints)
    yield from _over("links being tried", len(dialling._links), dialling._settings.dials)
    yield from _over("nodes asked", _strangers(owner._reconciling, owner._nodes), 0)


def _over(what: str, size: int, limit: int) -> Iterator[str]:
    if size > limit:
        yield f"{size} {what}, of {limit} at most"


def _weight(generations: _Generations[Any]) -> int:
    return len(generations.newest) + sum(len(values) for _, _, values in generations._older)


def _strangers(asking: Reconciling, nodes: dict[bytes, Any]) -> int:
    return len(asking._asked.keys() - nodes.keys())
