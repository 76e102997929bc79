"""What travels for a chunk: the arguments of many calls in columns, and what came of each in order.

A *column* holds one argument of all the calls, so that a chunk of calls with one argument is a list of these, and
most of what comes of them a list of values. That takes a tenth of the time that a list for each call would.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from meshq.errors import RemoteProtocolError

CHUNK_SERIALIZER = "msgpack"
"""That of what comes of a chunk, but for pickle: it holds failures as bytes, which json has no form for."""
WHOLE = True
"""The option ``chunk`` of a chunk that its caller has cut: all its calls are made."""
SPLIT = "split"
"""That of one which may come back short, or not be taken at all: its calls may be sent anew in other chunks."""


class ChunkResult(NamedTuple):
    """What came of the first calls of a chunk; of those after them nothing is known, and they were not made.

    ``values`` has one for each call, None for those that have failed: ``failures`` has their numbers, growing,
    each with its failure as data. ``seconds`` is how long the calls took; with ``singly`` the rest is to be sent
    as tasks of their own.
    """

    values: list[Any]
    failures: list[list[Any]]
    seconds: float = 0.0
    singly: bool = False


def read_chunk_result(value: Any, calls: int, is_split: bool) -> ChunkResult:
    """Return what came of a chunk of so many calls. Raises ``RemoteProtocolError``."""
    if type(value) is list and len(value) >= 4:
        values, failures, seconds, singly = value[:4]
        fits = type(values) is list and (len(values) == calls or (is_split and len(values) < calls))
        if fits and type(failures) is list and all(_is_failure(each, len(values)) for each in failures):
            return ChunkResult(values, failures, seconds if type(seconds) is float else 0.0, singly is True)
    raise RemoteProtocolError(f"a chunk of {calls} items came back with another shape")


def _is_failure(value: Any, calls: int) -> bool:
    return type(value) is list and len(value) == 2 and type(value[0]) is int and 0 <= value[0] < calls
