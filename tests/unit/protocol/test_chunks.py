"""What comes back of a chunk."""

from __future__ import annotations

from typing import Any

import pytest

from meshq.errors import RemoteProtocolError
from meshq.protocol.chunks import ChunkResult, read_chunk_result


@pytest.mark.parametrize("is_split", [True, False])
def test_a_whole_chunk(is_split: bool) -> None:
    """All values and failures are taken; fields that a later version adds are not looked at."""
    value = [[1, None, 3], [[1, b"failure"]], 0.5, False, "later"]
    assert read_chunk_result(value, 3, is_split) == ChunkResult([1, None, 3], [[1, b"failure"]], 0.5, False)


def test_a_short_chunk_is_for_those_who_can_deal_with_it() -> None:
    """Only who put the calls together unasked sends the rest anew."""
    assert read_chunk_result([[1], [], 0.5, True], 3, True) == ChunkResult([1], [], 0.5, True)
    with pytest.raises(RemoteProtocolError, match="a chunk of 3 items came back with another shape"):
        read_chunk_result([[1], [], 0.5, True], 3, False)


@pytest.mark.parametrize(
    "value",
    [
        None, [], [1, 2], [[1, 2, 3], [], 0.0], [[1, 2, 3, 4], [], 0.0, False], ["abc", [], 0.0, False],
        [[1, 2, 3], None, 0.0, False], [[1, 2, 3], [1], 0.0, False], [[1, 2, 3], [[3, b""]], 0.0, False],
        [[1, 2, 3], [[-1, b""]], 0.0, False], [[1, 2, 3], [["0", b""]], 0.0, False],
    ],
)  # fmt: skip
def test_what_is_no_chunk_s_result_is_an_error(value: Any) -> None:
    """A peer may say anything."""
    with pytest.raises(RemoteProtocolError, match="another shape"):
        read_chunk_result(value, 3, True)


def test_strange_seconds_count_as_none() -> None:
    """They are only for the size of the next chunk."""
    assert read_chunk_result([[1], [], "long", 1], 1, True) == ChunkResult([1], [], 0.0, False)
