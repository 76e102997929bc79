"""What passes between the holder and the workers: runs handed out, and what comes of them.

A *run* is one attempt in the hands of the node, numbered by the node. The numbers only ever grow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

from meshq.protocol.payload import Payload


class Run(NamedTuple):
    """An attempt as a worker gets it."""

    run: int
    task: bytes
    attempt: int
    function: str
    serializer: str
    payload: Payload
    options: dict[str, Any] | None = None


class FunctionInfo(NamedTuple):
    """What a worker says of a function that it offers."""

    name: str
    source_hash: str
    options: dict[str, Any]
    aliases: Sequence[str] = ()
    """Other names that it is called by."""


class Done(NamedTuple):
    """One run's end, as the worker reports it. ``seconds`` covers decoding, running and encoding."""

    run: int
    status: int
    serializer: str
    payload: Payload
    seconds: float


class WorkerReady(NamedTuple):
    """A worker has loaded its modules; ``slot`` can run."""

    slot: int
    pid: int
    functions: list[FunctionInfo]
    commands: tuple[str, ...] = ()
    """The names of the control commands that its modules have."""


class WorkerDone(NamedTuple):
    """A worker has finished these runs, in this order."""

    slot: int
    dones: Sequence[Sequence[Any]]
    """Of each the fields of a ``Done``: to make one of what has come as a list takes longer than to use it."""


class WorkerRecalled(NamedTuple):
    """A worker has given back these runs, which it had not started, of those asked for (``asked``)."""

    slot: int
    asked: list[int]
    runs: list[int]


class WorkerGone(NamedTuple):
    """A worker's process is gone.

    ``started`` is the number of the last run that it started (0: none). ``retired`` is True for a planned
    end (``max_tasks_per_child``, a stop), which nobody is to blame for.
    """

    slot: int
    started: int
    reason: str
    retired: bool = False


WorkerEvent: TypeAlias = WorkerReady | WorkerDone | WorkerRecalled | WorkerGone
