"""``meshq`` as another release would be on the wire: ``python -m other_version KIND node work …``.

- ``newer`` speaks versions 1 and 2, ends each message with fields that this release does not know, and puts
  messages that it does not know into each batch.
- ``older`` leaves out all fields that are optional, and knows no messages but those that run tasks.
- ``next`` speaks version 2 alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

UNKNOWN_VERB = 201
_LAST_OLD_VERB = 20
_ADDED = ({"since": 2, "deep": [[1]]}, "more", None)


def become(kind: str) -> None:
    """Make this process such a peer; before it imports anything else of meshq's protocol."""
    from meshq.protocol import messages

    if kind != "older":
        messages.PROTOCOL_VERSION = 2
    if kind == "next":
        messages.LOWEST_VERSION = 2
    from meshq.protocol import envelope, readers

    if kind == "newer":
        readers.READER_OF_VERB[UNKNOWN_VERB] = Knowing()  # type: ignore[assignment]
        _pack_with(envelope, _with_more)
    elif kind == "older":
        for verb in [verb for verb in readers.READER_OF_VERB if verb > _LAST_OLD_VERB]:
            del readers.READER_OF_VERB[verb]
        _pack_with(envelope, _with_less)


class Knowing:
    """Reads the messages that only newer peers know: there is nothing to be done about them."""

    @staticmethod
    def read_all(items: Sequence[Any]) -> list[Any]:
        """Return nothing."""
        return []


def _pack_with(envelope: Any, change: Any) -> None:
    groups = envelope._groups
    envelope._groups = lambda batch: change(groups(batch))


def _with_more(groups: list[list[Any]]) -> list[list[Any]]:
    strange = [UNKNOWN_VERB, ["what", {"is": "this"}], None]
    changed = [[verb, *([*item, *_ADDED] for item in items)] for verb, *items in groups]
    return [strange, *changed, [UNKNOWN_VERB + 1], strange]


def _with_less(groups: list[list[Any]]) -> list[list[Any]]:
    from meshq.protocol.messages import MESSAGE_OF_VERB, Part

    def required(verb: int) -> int:
        cls = MESSAGE_OF_VERB[verb]
        return len(cls._fields) - len(cls._field_defaults) if cls is not Part else 3

    known = [group for group in groups if group[0] <= _LAST_OLD_VERB]
    return [[verb, *(list(item)[: required(verb)] for item in items)] for verb, *items in known]


if __name__ == "__main__":
    become(sys.argv.pop(1))
    from meshq.__main__ import main

    main()
