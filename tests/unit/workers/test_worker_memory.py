"""The allocator of a node, its workers, and a client."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
from meshq.workers.memory import keep_large_blocks

keep_large_blocks()

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(16 * 1024 * 1024)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), faults())
"""

CLIENT = """
import resource
from meshq.workers.memory import expect_large_blocks

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    [bytearray(2**20) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
own = faults()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
expect_large_blocks()
cost = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(own, faults(), cost)
"""


def faults(script: str = FAULTS, **environment: str) -> list[int]:
    """Return how many pages had to be mapped, by default for a large block and for the next one of its size."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, env={**env, **environment}, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")
def test_a_large_block_is_used_again() -> None:
    """Payloads that follow one another share their memory: only the first pays for its pages."""
    first, second = faults()
    assert first > 1_000
    assert second < 100


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")
def test_what_the_user_has_set_stands() -> None:
    """Who wants memory back at once, and says so to the allocator, gets it."""
    first, second = faults(MALLOC_MMAP_THRESHOLD_="65536")
    assert min(first, second) > 1_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can be told")
def test_a_client_keeps_the_memory_of_a_few_results() -> None:
    """Its allocator would give it back each time; to have it learn costs no memory."""
    own, after, cost = faults(CLIENT)
    assert own > 1_000
    assert after < 100
    assert cost < 100
