"""A node in which something fails: what goes on, and who hears of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshq.config import Settings, load_settings
from meshq.core.holding import Drained, RevokeAnswered
from meshq.node.node import Node
from meshq.node.thread import NodeThread


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return the settings of a node of its own."""
    flags = {"mesh": "failing", "slots": 1, "mdns": False, "state": str(tmp_path)}
    return load_settings(flags, environ={}, cwd=tmp_path)


def fail(*_: Any) -> Any:
    """Stand in for what does not work."""
    raise RuntimeError("it does not work")


def test_an_effect_that_fails_does_not_take_the_others_with_it(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and what was decided after it is still done."""
    node = Node(settings)
    try:
        node._apply([RevokeAnswered(fail, {}), object(), Drained()])
        assert node._drained
        assert "could not apply RevokeAnswered" in caplog.text
        assert "could not apply object" in caplog.text
    finally:
        node._close()


def test_what_ends_a_node_in_a_thread_is_raised_when_it_is_stopped(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And logged at once; who embeds a node does not believe that all was well."""
    thread = NodeThread(settings)
    node = thread.start()
    monkeypatch.setattr(node, "_step", fail)
    node._loop.post(int)  # wake it
    thread._thread.join(10)
    with pytest.raises(RuntimeError, match="it does not work"):
        thread.stop()
    assert "the node has ended by an error" in caplog.text
    thread.stop()
