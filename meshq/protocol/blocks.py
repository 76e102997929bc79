"""Memory that payloads are read into, each byte written once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from meshq.protocol.payload import Buffer

_PYBUF_WRITE = 0x200  # of Python's object.h


def block(size: int) -> bytearray:
    """Return so many bytes that are to be written over, whatever they hold at first.

    To set them to zero takes as long as a copy: 4 ms for 32 MB, in memory that was used before. It is nothing but
    a bytearray: views of anything that the garbage collector follows end Python 3.12.1 when they are in a cycle.
    """
    made: bytearray = _maker()(None, size)
    return made


def blank_bytes(size: int) -> tuple[bytes, memoryview] | None:
    """Return bytes to be written over before anybody sees them, and the view to write them through.

    So bytes that come in pieces are put together as such, and not copied once more. The view must not outlive
    them. None where Python does not offer that.
    """
    makers = _bytes_makers()
    if makers is None:
        return None
    make, start, view = makers
    made: bytes = make(None, size)
    return made, view(start(made), size, _PYBUF_WRITE)


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


@cache
def _bytes_makers() -> tuple[Callable[..., Any], ...] | None:
    """Return what makes bytes of memory as it is, what says where that begins, and what makes a view of it."""
    try:
        import ctypes

        make = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)
        start = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)
        view = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)
        return (
            make(("PyBytes_FromStringAndSize", ctypes.pythonapi)),
            start(("PyBytes_AsString", ctypes.pythonapi)),
            view(("PyMemoryView_FromMemory", ctypes.pythonapi)),
        )
    except (ImportError, AttributeError):
        return None
