"""The process's zmq context and its limits."""

from __future__ import annotations

import resource

import pytest
import zmq

from meshq.transport.context import MAX_SOCKETS, make_context
from meshq.transport.sockets import MAX_FRAME_BYTES, open_socket


def test_a_context_has_room_for_thousands_of_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """More sockets than libzmq's 1,023, and the soft limit of files raised as far as the hard one allows."""
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: limits.append(pair))
    with make_context() as context:
        assert context.get(zmq.MAX_SOCKETS) == MAX_SOCKETS
        assert context.get(zmq.IO_THREADS) == 1
    assert limits == [(4096, 4096)]


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [
        (1024, resource.RLIM_INFINITY, 65_536),
        (1024, 10**6, 65_536),
        (70_000, 70_000, None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None),
    ],
)
def test_the_file_limit_is_raised_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int | None
) -> None:
    """As many as serve, and no fewer than there were."""
    limits: list[int] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, pair: limits.append(pair[0]))
    make_context().term()
    assert limits == ([] if raised is None else [raised])


def test_a_refused_limit_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that caps it below its own hard limit still gets a context."""

    def refuse(which: int, pair: tuple[int, int]) -> None:
        raise ValueError("not permitted")

    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 10**6))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    make_context().term()


def test_every_socket_is_limited() -> None:
    """No socket lingers, waits half a minute for a handshake, or takes frames without end."""
    with zmq.Context() as context:
        for kind in (zmq.DEALER, zmq.ROUTER, zmq.XPUB, zmq.SUB):
            with open_socket(context, kind) as socket:
                options = (zmq.LINGER, zmq.MAXMSGSIZE, zmq.HANDSHAKE_IVL, zmq.HEARTBEAT_IVL, zmq.RECONNECT_IVL_MAX)
                values = [socket.getsockopt(option) for option in options]
                assert values == [0, MAX_FRAME_BYTES, 5_000, 2_000, 5_000]
