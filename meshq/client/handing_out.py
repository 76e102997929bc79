"""How the results of a ``map`` are handed out: those of a portion in C, at a third of what a generator takes."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from operator import length_hint
from typing import Any


class Results:
    """The results in ``portions``, one by one; an iterator, whose ``close`` withdraws what was not handed out.

    ``iter`` of it is an iterator in C over the same results, which hands them out faster, and is closed with it.
    """

    def __init__(self, portions: Generator[Sequence[Any], None, None]) -> None:
        self._portions = _OneByOne(portions)
        self._values: Iterator[Any] = itertools.chain.from_iterable(self._portions)

    def __iter__(self) -> Iterator[Any]:
        return self._values

    def __next__(self) -> Any:
        return next(self._values)

    def close(self) -> None:
        """Hand out nothing more, not even what has come."""
        self._portions.close()


class _OneByOne:
    """The portions as iterators, for one thread at a time.

    Where two threads ask a ``chain`` for its next portion at once, it forgets one of the two. So the last one is
    given again while something of it is left. And where one of the threads fails, it ends for the other: so both
    fail. Between the last look and the return there is no call, as the interpreter changes threads at calls.
    """

    def __init__(self, portions: Generator[Sequence[Any], None, None]) -> None:
        self._portions = portions
        self._last: Iterator[Any] = iter(())
        self._is_asked = self._was_asked_twice = False

    def __iter__(self) -> _OneByOne:
        return self

    def __next__(self) -> Iterator[Any]:
        if self._is_asked:
            self._was_asked_twice = True
            raise _asked_twice()
        self._is_asked = True
        try:
            if not length_hint(self._last):
                self._last = iter(next(self._portions))
            last = self._last
            if self._was_asked_twice:
                self.close()
                raise _asked_twice()
            return last
        finally:
            self._is_asked = False

    def close(self) -> None:
        self._portions.close()
        deque(self._last, maxlen=0)


def _asked_twice() -> ValueError:
    return ValueError("map: two threads ask for its results at once; have them take turns, or map for each")
