"""How large chunks become."""

from __future__ import annotations

from meshq.core.chunking import CHUNK_S, GROWTH, MOST_BYTES, MOST_CALLS, Chunking


def test_nothing_is_put_together_before_something_is_known() -> None:
    """The first calls go alone, whatever they cost."""
    chunking = Chunking()
    assert chunking.size == 1
    assert not chunking.is_known
    assert not chunking.is_cheap


def test_chunks_of_cheap_calls_grow_by_steps_up_to_a_bound() -> None:
    """No step is larger than what is known allows, as the calls to come may be others."""
    chunking = Chunking()
    sizes = []
    while chunking.size < MOST_CALLS:
        chunking.observe(chunking.size, chunking.size * 1e-7, 0)
        sizes.append(chunking.size)
    assert sizes[:3] == [GROWTH, GROWTH**2, GROWTH**3]
    assert sizes[-1] == MOST_CALLS
    assert chunking.is_known
    assert chunking.is_cheap


def test_a_late_word_of_a_small_chunk_takes_nothing_back() -> None:
    """Of the first single calls many come back when larger chunks are under way."""
    chunking = Chunking()
    chunking.observe(1, 1e-6, 0)
    chunking.observe(8, 8e-6, 0)
    chunking.observe(1, 1e-6, 0)
    assert chunking.size == GROWTH**2


def test_a_chunk_takes_its_time_and_no_longer() -> None:
    """Calls of a tenth of a chunk's time go ten at a time; those that take as long as a chunk go alone."""
    chunking = Chunking()
    chunking.observe(1, CHUNK_S / 6, 0)
    assert chunking.size == 6
    chunking.observe(6, 6 * 10.0, 0)
    assert chunking.size == 1
    assert not chunking.is_cheap


def test_large_arguments_and_results_do_not_pile_up() -> None:
    """However cheap the calls are, a chunk stays small enough to be held in memory."""
    chunking = Chunking()
    chunking.observe(4, 1e-6, 2 * MOST_BYTES)
    assert chunking.size == 2


def test_a_chunk_of_which_no_call_was_made_says_nothing() -> None:
    """It was refused, say: something is known, but not how long calls take."""
    chunking = Chunking()
    chunking.observe(0, 0.0, 0)
    assert chunking.is_known
    assert chunking.size == 1
