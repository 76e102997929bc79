"""What is said of nodes that run another version of a function."""

from __future__ import annotations

import pytest

from meshq.client.sources import Sources
from meshq.core.membership import NodeView
from meshq.protocol.messages import HelloAck
from meshq.tasks import source_hash


def _view(name: str, functions: dict[str, str]) -> NodeView:
    ack = HelloAck(b"n" * 16, 1, 1, name, "h", 1, functions, [], [], [], False)
    return NodeView(ack.node, 1, ack, 1, "tcp://h", "alive", 0.0)


def test_another_version_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Not of the same one, not where a side does not know its source, and not of what was never submitted."""
    sources = Sources()
    assert not sources.knows("m.f")
    sources.learn("m.f", _view)
    assert sources.knows("m.f")
    views = [
        _view("same", {"m.f": source_hash(_view), "m.g": "ffffffff"}),
        _view("old", {"m.f": "00000000"}),
        _view("mute", {"m.f": ""}),
        _view("other", {}),
    ]
    sources.compare(views)
    sources.compare(views)
    [record] = caplog.records
    assert "old@h" in record.message
    assert "m.f" in record.message
