"""The owner's own events and effects: what the shell around it tells it, and what it asks for."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from meshq.core.accounts import NodeJoined
from meshq.core.events import Received, Send
from meshq.core.owned import Outcome, OwnedTask


class Submitted(NamedTuple):
    """Event: new tasks. One whose id is that of an unsettled task is ignored: the caller is to refuse it."""

    tasks: list[OwnedTask]


class NodeSuspected(NamedTuple):
    """Event: a node is silent; it gets nothing new for now."""

    node: bytes


class NodeReturned(NamedTuple):
    """Event: a suspected node was heard again."""

    node: bytes


class NodeLost(NamedTuple):
    """Event: a node is dead to us; ``died`` where it is known to have ended, not only to be out of reach."""

    node: bytes
    reason: str
    died: bool


class WithdrawAsked(NamedTuple):
    """Event: these tasks are not wanted any more; each is answered with ``WithdrawAnswered``."""

    tasks: list[bytes]


class Revoked(NamedTuple):
    """Event: these tasks were revoked. What waits here ends now; what a node has is the node's to end."""

    tasks: list[bytes]


class PurgeAsked(NamedTuple):
    """Event: discard all tasks that have not started. Answered with ``PurgeAnswered``; carried out once."""

    command: bytes


class HandOverAsked(NamedTuple):
    """Event: these tasks are to be entrusted to nodes other than ``own``, as far as they have not started.

    Answered with ``HandedOver`` for each as it comes to that; what starts, or ends, before is settled as ever.
    """

    tasks: list[bytes]
    own: bytes


class Leaving(NamedTuple):
    """Event: the owner goes; every unsettled task but the entrusted ones is cancelled."""


OwnerEvent: TypeAlias = (
    Submitted
    | Received
    | NodeJoined
    | NodeSuspected
    | NodeReturned
    | NodeLost
    | WithdrawAsked
    | Revoked
    | PurgeAsked
    | HandOverAsked
    | Leaving
)


class Settle(NamedTuple):
    """Effect: these tasks have ended; each is named exactly once in an owner's life."""

    ended: list[tuple[OwnedTask, Outcome]]


class PurgeAnswered(NamedTuple):
    """Effect: how many tasks the purge has discarded, all in all, once the nodes have answered for theirs."""

    command: bytes
    discarded: int


class WithdrawAnswered(NamedTuple):
    """Effect: the task was withdrawn before it started, having had so many deaths, or was not."""

    task: bytes
    withdrawn: bool
    deaths: int = 0


class RetryPlanned(NamedTuple):
    """Effect: the task has asked for another try, and is sent out again in so many seconds."""

    task: bytes
    seconds: float


class HandedOver(NamedTuple):
    """Effect: other nodes own these tasks from now on; nothing more is heard of them here."""

    tasks: list[OwnedTask]


OwnerEffect: TypeAlias = Send | Settle | WithdrawAnswered | PurgeAnswered | RetryPlanned | HandedOver
