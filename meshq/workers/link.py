"""What a node and a worker say to each other, and the few numbers that both keep to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from meshq.core.work import Done, Run
from meshq.protocol.payload import payload_size

# Node → worker, on the data pair. The end of the stream asks the worker to finish its run and go.
SPEC = 1
"""First: [the fields of WorkerSpec, the slot]."""
RUNS = 2
"""Rows of Run."""

# Worker → node, on the data pair.
READY = 3
"""[pid, rows of FunctionInfo, names of control commands]."""
FAILED = 4
"""[text]: the modules cannot be loaded; the process exits with FAILED_EXIT."""
DONES = 5
"""Rows of Done."""
OUTPUT = 6
"""[task id or b"", 1 or 2, lines…], sent before the run's own Done."""
RETIRING = 7
"""[]: nothing more is started; what is unstarted goes elsewhere."""

# On the control pair. Its end means that the node is dead.
RECALL = 8
"""Node → worker: [numbers of runs] to give back unless they have started."""
RECALLED = 9
"""Worker → node: [runs asked for, runs given back]."""
SOFT_LIMIT = 10
"""Node → worker: [number of a run] in which to raise SoftTimeLimitExceeded, unless it has ended."""

RUN_PAYLOAD = Run._fields.index("payload")
DONE_PAYLOAD = Done._fields.index("payload")

BATCH_ROWS = 256
BATCH_BYTES = 256 * 1024
"""A batch is cut here, so that its first run starts, and its first result leaves, before the last is copied."""
LONG_S = 0.001
"""Nothing waits behind a run that takes longer."""
FAILED_EXIT = 3
BROKEN_EXIT = 70
"""The worker's own loop failed (EX_SOFTWARE of sysexits.h)."""
STREAMS = {1: "stdout", 2: "stderr"}


class WorkerSpec(NamedTuple):
    """What a worker is to be; the same for all workers of a node."""

    modules: Sequence[str] = ()
    """Modules whose task functions are offered."""
    allow: Sequence[str] = ()
    """``MODULE[:GLOB]`` of plain functions to offer too."""
    path: Sequence[str] = ()
    """Directories put in front of ``sys.path``, behind the current one."""
    cwd: str | None = None
    """The directory to work in; None: the node's own."""
    node: str = ""
    """The node's NAME@HOST."""
    max_tasks: int = 0
    """Runs after which a worker is retired; 0: never."""
    farewell_s: float = 5.0
    """What is left to be done at exit (``atexit``, threads) gets this long; then the process is ended."""
    env: dict[str, str] | None = None
    """Environment variables beside the node's own."""
    commands: bool = False
    """Whether it carries out the control commands of the modules, instead of their task functions."""
    pickles: bool = False
    """Whether it loads pickles, and offers ``meshq.shipped``; else none is ever loaded in it."""


def spec_items(spec: WorkerSpec, slot: int) -> list[Any]:
    """Return the items of SPEC."""
    return [list(spec), slot]


def batches(runs: Sequence[Run]) -> Iterable[Sequence[Run]]:
    """Return runs, of which there must be one, in batches: so the first can start while the last is on its way."""
    size = 0
    for run in runs:
        payload = run.payload
        if type(payload) is not bytes:
            return _batches(runs)
        size += len(payload)
    return (runs,) if size < BATCH_BYTES else _batches(runs)  # as a rule the former


def _batches(runs: Sequence[Run]) -> Iterator[Sequence[Run]]:
    """Yield the batches of runs that have to be weighed."""
    batch: list[Run] = []
    size = 0
    for run in runs:
        batch.append(run)
        size += payload_size(run.payload)
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
