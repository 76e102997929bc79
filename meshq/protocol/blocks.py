"""Memory that payloads are read into, each byte written once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from meshq.protocol.payload import Buffer


def block(size: int) -> bytearray:
    """Return so many bytes that are to be written over, whatever they hold at first.

    To set them to zero takes as long as a copy: 4 ms for 32 MB, in memory that was used before. It is nothing but
    a bytearray: views of anything that the garbage collector follows end Python 3.12.1 when they are in a cycle.
    """
    made: bytearray = _maker()(None, size)
    return made


class Gathered(list[Buffer]):
    """A payload of the attached form in two buffers: what is before its area, and the area.

    The area is bytes where it was received as one value of those, which is then no copy; else it is writable.
    """


@cache
def _maker() -> Callable[[None, int], Any]:
    """Return what makes a bytearray of memory as it is; where Python does not offer that, of zeros."""
    try:
        import ctypes

        # A prototype of our own: that of ctypes.pythonapi is shared with all that runs in this process.
        prototype = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)
        return prototype(("PyByteArray_FromStringAndSize", ctypes.pythonapi))
    except (ImportError, AttributeError):
        return lambda _, size: bytearray(size)
