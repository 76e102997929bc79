"""What the tests of the owner, and of its parts, begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conversation import Conversation
from owner_words import make_task

from meshq.core.owned import OwnedTask
from meshq.core.owner import Owner

NO_NODES_S = 5.0


@pytest.fixture
def owner() -> Owner:
    """An owner that waits 5 s for nodes."""
    return Owner(no_nodes_timeout=NO_NODES_S)


@pytest.fixture
def talk(owner: Owner) -> Iterator[Conversation]:
    """A conversation with the owner, in which nothing may be left over."""
    conversation = Conversation(owner)
    yield conversation
    conversation.end()


@pytest.fixture
def task() -> OwnedTask:
    """A task of the function f."""
    return make_task()
