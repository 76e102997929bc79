"""Fixtures of the transport's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from transport_harness import Net


@pytest.fixture
def net() -> Iterator[Net]:
    """A loop and a context, with all that the test opens on them closed at the end."""
    opened = Net()
    yield opened
    opened.close()
