"""The replies to a control command."""

from __future__ import annotations

from typing import Any


class Replies(list[dict[str, Any]]):
    """A list of ``{"NAME@HOST": value}``, in the order of arrival.

    A value is ``{"ok": …}`` or ``{"error": text}``, with further fields of the command's own. ``missing`` maps
    each node that was expected and is not in the list to the reason.
    """

    def __init__(self) -> None:
        super().__init__()
        self.missing: dict[str, str] = {}

    def by_node(self) -> dict[str, Any]:
        """Return the replies as one dict, NAME@HOST → value."""
        return {name: value for reply in self for name, value in reply.items()}
