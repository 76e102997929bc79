"""Candidates from a list of peers, and the words in which candidates speak."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable

import pytest

from meshq.errors import ConfigError
from meshq.transport import discovery
from meshq.transport.discovery import Candidate, StaticDiscovery, mesh_hash


def _until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def test_numeric_peers_are_reported_at_once() -> None:
    """They are there when start returns, with the control port that follows by rule, and are never gone."""
    got: list[Candidate] = []
    gone: list[str] = []
    peers = StaticDiscovery(["tcp://10.0.0.5:7700", "tcp://[fd00::5]:65535", "tcp://localhost:1"])
    peers.start(got.append, gone.append)
    peers.close()
    peers.close()
    by_instance = {candidate.instance: candidate for candidate in got}
    assert by_instance["tcp://10.0.0.5:7700"] == Candidate(
        "static", "tcp://10.0.0.5:7700", "", "10.0.0.5", ("10.0.0.5",), 7700, 7701, "", "", ""
    )
    assert by_instance["tcp://[fd00::5]:65535"].control_port == 0
    assert by_instance["tcp://localhost:1"].addresses == ("127.0.0.1",)
    assert (len(got), gone) == (3, [])


def test_names_are_resolved_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is unknown at first is reported when it is known, and again when its address has changed."""
    answers = iter([OSError("unknown"), "10.0.0.1", "10.0.0.1", "10.0.0.2"])

    def look_up(host: str, port: object, **options: object) -> list[tuple[object, ...]]:
        answer = next(answers, "10.0.0.2")
        if isinstance(answer, OSError):
            raise answer
        return [(None, None, None, None, (answer, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(discovery, "RESOLVE_AGAIN_S", 0.01)
    got: list[Candidate] = []
    peers = StaticDiscovery(["tcp://gpu-1:7700"])
    peers.start(got.append, lambda instance: None)
    _until(lambda: len(got) == 2)
    peers.close()
    assert [(candidate.host, candidate.addresses) for candidate in got] == [
        ("gpu-1", ("10.0.0.1",)), ("gpu-1", ("10.0.0.2",)),
    ]  # fmt: skip


def test_closing_does_not_wait_for_a_name_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up that hangs delays close by no more than a moment, and reports nothing afterwards."""
    asked, answer = threading.Event(), threading.Event()

    def look_up(host: str, port: object, **options: object) -> list[tuple[object, ...]]:
        asked.set()
        answer.wait(10)
        return [(None, None, None, None, ("10.0.0.1", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    got: list[Candidate] = []
    peers = StaticDiscovery(["tcp://gpu-1:7700"])
    peers.start(got.append, lambda instance: None)
    assert asked.wait(10)
    began = time.monotonic()
    peers.close()
    assert time.monotonic() - began < 1
    answer.set()
    assert peers._thread is not None
    peers._thread.join(10)
    assert got == []


def test_a_bad_peer_is_named_before_anything_starts() -> None:
    """The list is checked when it is given."""
    with pytest.raises(ConfigError, match=r"'10\.0\.0\.5:7700' is not an endpoint"):
        StaticDiscovery(["tcp://10.0.0.5:7700", "10.0.0.5:7700"])


def test_mesh_names_are_hashed() -> None:
    """16 hex digits that differ from name to name."""
    assert len(bytes.fromhex(mesh_hash("default"))) == 8
    assert mesh_hash("default") == mesh_hash("default") != mesh_hash("defaul")
