"""Which of the hints are followed: without a key, only what nobody else can answer for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from meshq.client import finding as module
from meshq.client.finding import Finding, named_peers
from meshq.config import Settings, load_settings
from meshq.core.membership import Candidate as DialCandidate
from meshq.transport.discovery import Candidate, OnCandidate, OnGone
from meshq.transport.keys import MeshKey, load_key, write_key

HERE, THERE = "tcp://127.0.0.1:7700", "tcp://10.0.0.2:7700"


class Source:
    """A discovery that finds what it is told to."""

    def __init__(self) -> None:
        self.closed = False

    def start(self, on_candidate: OnCandidate, on_gone: OnGone) -> None:
        """Begin."""
        self.find, self.take_back = on_candidate, on_gone

    def close(self) -> None:
        """End."""
        self.closed = True


class Found:
    """A finding, and what it has found."""

    def __init__(self, settings: Settings, key: MeshKey | None = None) -> None:
        self.seen: list[DialCandidate] = []
        self.lost: list[str] = []
        self.source = Source()
        self.finding = Finding(settings, key, self._post, self.seen.append, self.lost.append)
        self.finding.start([self.source])

    def _post(self, call: Callable[..., object], *args: Any) -> None:
        call(*args)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings without a key."""
    return load_settings({"mesh": "finding"}, environ={}, cwd=tmp_path)


@pytest.fixture
def key(tmp_path: Path) -> MeshKey:
    """A mesh key."""
    write_key(tmp_path / "mesh.key")
    return load_key(tmp_path / "mesh.key")


def candidate(*addresses: str, key: str = "", name: str = "node") -> Candidate:
    """Make a candidate of a host."""
    return Candidate("mdns", "6e" * 16, name, "host", addresses, 7700, 7701, "m", key, "1")


def test_a_candidate_is_dialled_at_all_its_addresses(settings: Settings, key: MeshKey) -> None:
    """By a name for people; what is taken back is told too."""
    found = Found(settings, key)
    found.source.find(candidate("10.0.0.2", "fe80::1%eth0"))
    found.source.find(candidate("10.0.0.2", name=""))
    found.source.take_back("6e" * 16)
    first, second = found.seen
    assert first.endpoints == (THERE, "tcp://[fe80::1%eth0]:7700")
    assert (first.label, second.label) == ("node@host", "6e" * 16)
    assert found.lost == ["6e" * 16]


def test_without_a_key_only_loopback_is_dialled(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """On any other address anybody could answer; those are noted, up to a bound, to explain the absence."""
    monkeypatch.setattr(module, "MAX_UNSAFE", 1)
    found = Found(settings)
    found.source.find(candidate("127.0.0.1", "10.0.0.2"))
    assert [each.endpoints for each in found.seen] == [(HERE,)]
    found.source.find(candidate("10.0.0.2", name="open"))
    found.source.find(candidate("10.0.0.3", name="another"))
    assert found.finding.unsafe == {"open@host": THERE}
    assert len(found.seen) == 1
    found.source.find(
        candidate("10.0.0.2", key="theirs")
    )  # dialled by nobody, as the key will be told to be missing
    assert found.seen[1].key == "theirs"


def test_what_nodes_name_is_held_to_the_same_rule(settings: Settings, key: MeshKey, tmp_path: Path) -> None:
    """Without a key, loopback; and loopback at all only where the node that names it is there itself."""
    keyless, keyed = Found(settings).finding, Found(settings, key).finding
    open_settings = load_settings({"insecure": True}, environ={}, cwd=tmp_path)
    insecure = Found(open_settings).finding
    assert [each.may_follow(THERE, THERE) for each in (keyless, keyed, insecure)] == [False, True, True]
    assert [each.may_follow(HERE, HERE) for each in (keyless, keyed, insecure)] == [True, True, True]
    assert [each.may_follow(HERE, THERE) for each in (keyless, keyed, insecure)] == [False, False, False]
    for nonsense in ("", "ipc://x", "tcp://10.0.0.2", "tcp://a-name:7700"):
        assert not keyed.may_follow(nonsense, THERE)


def test_nothing_is_found_after_the_end(settings: Settings, key: MeshKey) -> None:
    """Neither by what runs still nor by what is only starting."""
    found = Found(settings, key)
    found.finding.close()
    found.source.find(candidate("10.0.0.2"))
    found.source.take_back("6e" * 16)
    late = Source()
    found.finding.start([late])
    assert found.source.closed
    assert not hasattr(late, "find")
    assert (found.seen, found.lost) == ([], [])


def test_peers_that_are_named_are_a_source(settings: Settings, tmp_path: Path) -> None:
    """None are named as a rule."""
    assert named_peers(settings) == []
    assert len(named_peers(load_settings({"peers": [THERE]}, environ={}, cwd=tmp_path))) == 1
