"""Memory that payloads are read into, each byte written once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from io import BytesIO
from typing import Any

from meshq.protocol.payload import Buffer


def block(size: int) -> BytesIO:
    """Return so many bytes that are to be written over, by ``getbuffer``, whatever they hold at first.

    To set them to zero takes as long as a copy: 4 ms for 32 MB, in memory that was used before.
    """
    return BytesIO(_maker()(None, size))


class Gathered(list[Buffer]):
    """A payload of the attached form in two buffers: what is before its area, and the area, to be written over."""

    __slots__ = ("_area",)

    def __init__(self, head: Buffer, size: int) -> None:
        self._area = block(size)
        super().__init__((head, self._area.getbuffer()))

    def area_bytes(self) -> bytes:
        """Return the area as bytes, which it is from now on; it is copied only where others have views of it."""
        view = self[1]
        if isinstance(view, memoryview):
            view.release()
            self[1] = self._area.getvalue()
        return bytes(self[1])


@cache
def _maker() -> Callable[[None, int], Any]:
    """Return what makes bytes of memory as it is; where Python does not offer that, of zeros."""
    try:
        import ctypes

        make = ctypes.pythonapi.PyBytes_FromStringAndSize
        make.argtypes, make.restype = (ctypes.c_char_p, ctypes.c_ssize_t), ctypes.py_object
    except (ImportError, AttributeError):
        return lambda _, size: bytes(size)
    return make
