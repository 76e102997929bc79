"""How often a node tells a peer all ids that it refuses.

Once is enough, unless they change or the telling gets lost on the way. So the same ids are told again after a
second, then after two, four, and so on up to a minute. What was told over an earlier connection may be lost with
it, however lately: to a question from before a cut, which comes late, the answer goes where nobody reads any more.
"""

from __future__ import annotations

from math import inf

LEAST_S = 1.0
MOST_S = 60.0
"""The threat: a peer that says each second that it has other ids, and is answered with megabytes of ours. One that
comes over a new connection each second gets them twice a second at most."""


class Telling:
    """When one peer was told all ids last."""

    __slots__ = ("_at", "_digest", "_is_new", "_new_at", "_pause_s")

    def __init__(self) -> None:
        self._at = -inf
        self._digest = b""
        self._pause_s = LEAST_S
        self._is_new = False
        """Whether nothing was told over the connection that there is now."""
        self._new_at = -inf
        """When something was told for that reason."""

    def renew(self) -> None:
        """Note that the peer is there over a new connection; it may make as many of these as it likes."""
        self._is_new = self._at > -inf

    def begin(self, digest: bytes, now: float) -> bool:
        """Tell whether it is time for a telling, which then counts; ``digest`` is that of the ids here."""
        is_same = digest == self._digest
        if self._is_new and now >= self._new_at + LEAST_S:
            self._new_at, is_same = now, False
        elif now < self._at + (self._pause_s if is_same else LEAST_S):
            return False
        self._pause_s = min(2 * self._pause_s, MOST_S) if is_same else LEAST_S
        self._at, self._digest, self._is_new = now, digest, False
        return True
