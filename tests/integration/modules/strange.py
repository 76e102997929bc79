"""A module that only nodes import, with an error type that clients do not know."""

from __future__ import annotations


class StrangeError(Exception):
    """Known to nodes alone."""


def make_error(text: str) -> StrangeError:
    """Make one, so that who calls need not name the type."""
    return StrangeError(text)
