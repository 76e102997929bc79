"""Gives a Python process another wall clock, as the environment says; imported by it at its start.

``SCORE_WALL_S`` is by how many seconds it is wrong. With ``SCORE_WALL_JUMPS`` it is so in one second, and in the
next wrong by as much in the other direction.
"""

from __future__ import annotations

import datetime
import os
import time

_SHIFT_S = int(os.environ.get("SCORE_WALL_S", "0"))
_JUMPS = "SCORE_WALL_JUMPS" in os.environ
_time, _time_ns, _datetime = time.time, time.time_ns, datetime.datetime


def _shift_s() -> int:
    return -_SHIFT_S if _JUMPS and int(time.monotonic()) % 2 else _SHIFT_S


class _Datetime(_datetime):
    """A datetime that goes by the wrong clock."""

    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> _Datetime:
        return super().now(tz) + datetime.timedelta(seconds=_shift_s())

    @classmethod
    def utcnow(cls) -> _Datetime:
        return super().utcnow() + datetime.timedelta(seconds=_shift_s())


if _SHIFT_S:
    time.time = lambda: _time() + _shift_s()
    time.time_ns = lambda: _time_ns() + _shift_s() * 10**9
    datetime.datetime = _Datetime  # type: ignore[misc]
