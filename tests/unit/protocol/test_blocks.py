"""Memory that payloads are read into."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Iterator

import pytest

from meshq.protocol import blocks
from meshq.protocol.blocks import Gathered, blank_bytes, block

AREA = b"area" * 1000


@pytest.fixture(params=[True, False], ids=["raw", "zeros"])
def _maker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both ways to come by memory; what was found out of Python is forgotten afterwards."""
    if not request.param:
        monkeypatch.delattr("ctypes.pythonapi")
    forget()
    yield
    forget()


def forget() -> None:
    """Have what Python offers looked for anew."""
    blocks._maker.cache_clear()
    blocks._bytes_makers.cache_clear()


def gathered() -> Gathered:
    """Return a payload whose area has come."""
    return Gathered((b"head", memoryview(bytearray(AREA))))


@pytest.mark.usefixtures("_maker")
def test_a_block_is_as_long_as_asked_for_and_can_be_written_over() -> None:
    """Payloads of any length are read into one."""
    for size in (0, 1, 100_000):
        view = memoryview(block(size))
        view[:] = b"x" * size
        assert bytes(view) == b"x" * size


def test_the_maker_is_ours_alone() -> None:
    """Whoever calls Python's own functions by ctypes, in the same process, finds and leaves them as they are."""
    forget()
    names = "PyByteArray_FromStringAndSize", "PyBytes_FromStringAndSize", "PyMemoryView_FromMemory"
    shared = [getattr(ctypes.pythonapi, name) for name in names]
    before = [(each.argtypes, each.restype) for each in shared]
    assert len(block(3)) == 3
    assert blank_bytes(3)
    assert [(each.argtypes, each.restype) for each in shared] == before


@pytest.mark.usefixtures("_maker")
def test_bytes_are_written_before_anybody_sees_them() -> None:
    """They are made of memory as it is, and filled in any number of steps; where Python cannot, it says so."""
    blank = blank_bytes(100_000)
    if not hasattr(ctypes, "pythonapi"):
        assert blank is None
        return
    assert blank is not None
    made, room = blank
    for start in range(0, 100_000, 30_000):
        part = room[start : start + 30_000]
        part[:] = bytes([65 + start // 30_000]) * len(part)
    assert type(made) is bytes
    assert made == b"A" * 30_000 + b"B" * 30_000 + b"C" * 30_000 + b"D" * 10_000


def test_a_payload_in_a_cycle_is_let_go_of() -> None:
    """A task that keeps its own error does so; views of other things than bytearrays end Python 3.12.1 there."""
    gc.freeze()  # what other tests have left need not be looked through a hundred times
    try:
        for _ in range(100):
            cycle: list[object] = [gathered()]
            cycle.append(cycle)
            del cycle
            assert gc.collect() > 0
    finally:
        gc.unfreeze()


def test_too_much_is_a_memory_error() -> None:
    """A length that no machine has the memory for is refused as Python refuses it."""
    with pytest.raises(MemoryError):
        block(2**62)
    with pytest.raises(MemoryError):
        blank_bytes(2**62)
