"""Peers of other versions: what is spoken with them, and what they, or people, are told where nothing can be."""

from __future__ import annotations

from collections.abc import Iterable

from meshq.protocol.messages import LOWEST_VERSION, PROTOCOL_VERSION, Hello, Refused

_MOST_NAMED, _MOST_TOLD = 8, 64
"""Unknown verbs that an answer names, and that a connection is remembered to have been told of. The threat: a peer
that sends a megabyte of them, whose list no batch would hold."""


def agreed(hello: Hello) -> int | None:
    """Return the highest version that a client and this node both speak, or None where there is none."""
    highest = min(PROTOCOL_VERSION, hello.highest)
    return highest if highest >= max(LOWEST_VERSION, hello.lowest) else None


def refuse_client(lowest: int, highest: int) -> Refused:
    """Return what a node says to a client that speaks none of its versions, but these."""
    return _refuse((LOWEST_VERSION, PROTOCOL_VERSION), (lowest, highest))


def refuse_node(version: int) -> Refused:
    """Return what a client makes of a node that has answered in a version which is not spoken here."""
    return _refuse((version, version), (LOWEST_VERSION, PROTOCOL_VERSION))


class StrangeVerbs:
    """The verbs of one connection that are not known here. What came with them is read all the same."""

    def __init__(self) -> None:
        self._told: set[int] = set()

    def refuse(self, verbs: Iterable[int]) -> list[Refused]:
        """Return the answer to messages of these verbs; nothing where it has been given before."""
        new = sorted(set(verbs) - self._told)
        if not new:
            return []
        self._told.update(new[: _MOST_TOLD - len(self._told)])
        named, more = ", ".join(map(str, new[:_MOST_NAMED])), len(new) - _MOST_NAMED
        named += f" and {more} more" if more > 0 else ""
        return [Refused("verb", f"verbs {named} are not known to version {PROTOCOL_VERSION} of the wire")]


def _refuse(node: tuple[int, int], client: tuple[int, int]) -> Refused:
    """Say it from the client's side, since that is where it is read."""
    older = "there" if node[1] < client[0] else "here"
    text = f"it speaks version {_span(*node)} of the wire, and this is version {_span(*client)}"
    return Refused("version", f"{text}: upgrade meshq {older}")


def _span(lowest: int, highest: int) -> str:
    return str(highest) if lowest == highest else f"{lowest} to {highest}"
