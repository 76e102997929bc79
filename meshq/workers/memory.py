"""Has the allocator keep large blocks for the next payload."""

from __future__ import annotations

import os
from functools import cache

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_OWN_BLOCK_BYTES = 32 * 1024 * 1024
"""The most that glibc allows. A block of this size is mapped alone, and goes back to the system when freed."""
KEPT_BYTES = 96 * 1024 * 1024
"""What is free at the heap's end beyond this goes back: room for a payload of 32 MiB, its copy, and some."""
_EXPECTED_BYTES = 8 * 1024 * 1024


def keep_large_blocks() -> None:
    """Have large blocks taken from the heap, which keeps up to ``KEPT_BYTES``; only glibc can.

    Fresh memory costs a fault for each page: 32 MB of it 17 ms of processor time where a copy of it takes 3 to 5.
    glibc comes to much the same by itself, but only in time, and then keeps up to 64 MiB. For our own processes,
    a node and its workers; what their users have set (``MALLOC_…``) stands.
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


@cache
def expect_large_blocks() -> None:
    """Have somebody else's process keep some of what it frees, by no more than what glibc goes by itself.

    Of what is free it keeps twice the largest block that it has seen freed. With blocks of 1 MB alone that is less
    than what a few results take: an echo of 1 MB then costs 120 fresh pages, 0.1 to 0.3 ms. One block is enough.
    """
    bytes(_EXPECTED_BYTES)  # which writes to none of it, so that it costs next to nothing
