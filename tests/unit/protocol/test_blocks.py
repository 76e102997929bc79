"""Memory that payloads are read into."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from meshq.protocol import blocks
from meshq.protocol.blocks import Gathered, block

AREA = b"area" * 1000


@pytest.fixture(params=[True, False], ids=["raw", "zeros"])
def _maker(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both ways to come by memory; what was found out of Python is forgotten afterwards."""
    if not request.param:
        monkeypatch.delattr("ctypes.pythonapi")
    blocks._maker.cache_clear()
    yield
    blocks._maker.cache_clear()


def gathered() -> Gathered:
    """Return a payload whose area has come."""
    payload = Gathered(b"head", len(AREA))
    memoryview(payload[1])[:] = AREA
    return payload


@pytest.mark.usefixtures("_maker")
def test_a_block_is_as_long_as_asked_for_and_can_be_written_over() -> None:
    """Payloads of any length are read into one."""
    for size in (0, 1, 100_000):
        view = block(size).getbuffer()
        view[:] = b"x" * size
        assert bytes(view) == b"x" * size


@pytest.mark.usefixtures("_maker")
def test_the_bytes_of_an_area_can_be_had_again_and_again() -> None:
    """The payload stays what it was, for whoever reads it a second time."""
    payload = gathered()
    assert payload.area_bytes() == AREA
    assert payload.area_bytes() == AREA
    assert b"".join(payload) == b"head" + AREA


def test_bytes_are_nobodys_view() -> None:
    """Who writes into an array of the same area must not change them."""
    payload = gathered()
    view = memoryview(payload[1])[:]
    found = payload.area_bytes()
    view[:4] = b"else"
    assert found == AREA


def test_the_bytes_of_an_area_are_not_copied() -> None:
    """Bytes of 32 MB would take 5 ms more."""
    payload = gathered()
    found = payload.area_bytes()
    assert payload[1] is found
    assert payload._area.getvalue() is found


def test_too_much_is_a_memory_error() -> None:
    """A length that no machine has the memory for is refused as Python refuses it."""
    with pytest.raises(MemoryError):
        block(2**62)
