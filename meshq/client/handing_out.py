"""How the results of a ``map`` are handed out: those of a portion in C, at a third of what a generator takes."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Sequence
from typing import Any


class Results:
    """The results in ``portions``, one by one; an iterator, whose ``close`` ends the portions."""

    def __init__(self, portions: Generator[Sequence[Any], None, None]) -> None:
        self._portions = portions
        self._values: Iterator[Any] = itertools.chain.from_iterable(_OneByOne(portions))

    def __iter__(self) -> Iterator[Any]:
        return self._values

    def __next__(self) -> Any:
        return next(self._values)

    def close(self) -> None:
        """Withdraw what has not been handed out."""
        self._portions.close()
        self._values = itertools.chain()


class _OneByOne:
    """The portions, for one thread at a time.

    A ``chain`` that two threads ask for its next portion at once may lose one of the two without a word, and where
    one of them fails it ends for the other: so both fail. Between the last look at ``_was_asked_twice`` and the
    return there is no call, as the interpreter changes threads at calls.
    """

    def __init__(self, portions: Iterator[Sequence[Any]]) -> None:
        self._portions = portions
        self._is_asked = self._was_asked_twice = False

    def __iter__(self) -> _OneByOne:
        return self

    def __next__(self) -> Sequence[Any]:
        if self._is_asked:
            self._was_asked_twice = True
            raise _asked_twice()
        self._is_asked = True
        try:
            portion = next(self._portions)
            if self._was_asked_twice:
                raise _asked_twice()
            return portion
        finally:
            self._is_asked = False


def _asked_twice() -> ValueError:
    return ValueError("map: two threads ask for its results at once; have them take turns, or map for each")
