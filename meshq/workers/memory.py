"""Has the allocator of our own processes, a node and its workers, keep large blocks for the next payload."""

from __future__ import annotations

import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_OWN_BLOCK_BYTES = 32 * 1024 * 1024
"""The most that glibc allows. A block of this size is mapped alone, and goes back to the system when freed."""
KEPT_BYTES = 96 * 1024 * 1024
"""What is free at the heap's end beyond this goes back: room for a payload of 32 MiB, its copy, and some."""


def keep_large_blocks() -> None:
    """Have large blocks taken from the heap, which keeps up to ``KEPT_BYTES``; only glibc can.

    Fresh memory costs a fault for each page: 32 MB of it 17 ms of processor time where a copy of it takes 3 to 5.
    glibc comes to much the same by itself, but only in time, and then keeps up to 64 MiB. Not for processes of
    users: what they have set (``MALLOC_…``) stands here too.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return
    try:
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
    except (ImportError, OSError, AttributeError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _OWN_BLOCK_BYTES)
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
