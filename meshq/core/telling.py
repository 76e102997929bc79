"""How often a node tells a peer all ids that it refuses.

Once is enough, unless they change or the telling gets lost on the way. So the same ids are told again after a
second, then after two, four, and so on up to a minute. What was told over an earlier connection may be lost with
it, however lately: a question that had waited out a cut is answered to nobody.
"""

from __future__ import annotations

from math import inf

LEAST_S = 1.0
MOST_S = 60.0
"""The threat: a peer that says each second that it has other ids, and is answered with megabytes of ours."""


class Telling:
    """When one peer was told all ids last."""

    __slots__ = ("_at", "_digest", "_pause_s", "_renewed_at")

    def __init__(self) -> None:
        self._at = -inf
        self._digest = b""
        self._pause_s = LEAST_S
        self._renewed_at = -inf

    def renew(self, now: float) -> None:
        """Note that the peer is there over a new connection; a peer may have as many of these as it likes."""
        if self._at > -inf and now >= self._renewed_at + LEAST_S:
            self._at, self._pause_s, self._renewed_at = -inf, LEAST_S, now

    def begin(self, digest: bytes, now: float) -> bool:
        """Tell whether it is time for a telling, which then counts; ``digest`` is that of the ids here."""
        is_same = digest == self._digest
        if now < self._at + (self._pause_s if is_same else LEAST_S):
            return False
        self._pause_s = min(2 * self._pause_s, MOST_S) if is_same else LEAST_S
        self._at, self._digest = now, digest
        return True
