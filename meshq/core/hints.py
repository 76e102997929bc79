"""What a node says of the others that it knows: hints of where they may be, which are never trusted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from meshq.core.candidates import PEER, Candidate
from meshq.ids import ID_BYTES
from meshq.protocol.messages import HelloAck

MAX_HINTS = 200
"""Read of one node, and told by one."""
LONGEST_TEXT = 256
"""Characters of a name or an endpoint."""

MayFollow = Callable[[str, str], bool]
"""Whether an endpoint may be dialled that was named by the node at the second one."""


def hints_of(ack: HelloAck, endpoint: str, may_follow: MayFollow) -> Iterator[Candidate]:
    """Yield a candidate for each other node that the one at ``endpoint`` names, as far as that makes sense."""
    for entry in ack.peers[:MAX_HINTS]:
        if len(entry) < 3 or not all(map(_is_text, entry[1:3])):
            continue
        node, name, where = entry[:3]
        if isinstance(node, bytes) and len(node) == ID_BYTES and node != ack.node and may_follow(where, endpoint):
            yield Candidate(node.hex(), (where,), (), "", PEER, name)


def follow_all(endpoint: str, via: str) -> bool:
    """Let any hint be followed."""
    return True


def _is_text(value: Any) -> bool:
    """Tell whether the value may be shown to people."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_TEXT and value.isprintable()
