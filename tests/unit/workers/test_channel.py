"""The framing between a node and a worker."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshq.errors import LocalProtocolError, RemoteProtocolError
from meshq.protocol import codec
from meshq.protocol.blocks import Gathered
from meshq.workers.channel import BlockingChannel, PeerChannel
from meshq.workers.framing import HEADER, INLINE_BYTES, MAX_MESSAGE_BYTES, Packer, Reader

Pair = tuple[PeerChannel, BlockingChannel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Both ends of a channel."""
    near, far = socket.socketpair()
    peer, child = PeerChannel(near), BlockingChannel(far)
    yield peer, child
    peer.close()
    child.close()


def stream(*messages: tuple[int, list[Any], int | None]) -> bytes:
    packer = Packer()
    return b"".join(bytes(part) for message in messages for part in packer.pack(*message))


def read(data: bytes, steps: Iterator[int], takes_bytes: bool = False) -> list[Any]:
    """Feed a reader in steps; return plain messages."""
    reader, got = Reader(takes_bytes), []
    while data:
        count = min(reader.awaited or len(reader.target()), len(data), next(steps))
        if reader.awaited:
            got += reader.take(data[:count])
        else:
            reader.target()[:count] = data[:count]
            got += reader.received(count)
        data = data[count:]
    return [(kind, [[plain(field) for field in item] for item in items]) for kind, items in got]


def plain(field: Any) -> Any:
    return b"".join(field) if isinstance(field, list) else field


sizes = st.sampled_from([0, 1, 100, INLINE_BYTES, INLINE_BYTES + 1, 70_000, 200_000])


forms = {
    "whole": lambda data: data,
    "listed": lambda data: [data[: len(data) // 2], memoryview(data)[len(data) // 2 :]],
    "attached": lambda data: codec.serializer("msgpack").dumps(data, "value"),
    "two attached": lambda data: codec.serializer("msgpack").dumps_call((data, data), {}),
}


@given(
    st.lists(st.lists(sizes, max_size=4), max_size=4),
    st.lists(st.integers(1, 300_000), min_size=1),
    st.sampled_from(sorted(forms)),
    st.booleans(),
)
def test_messages_survive_any_cutting(
    batches: list[list[int]], steps: list[int], form: str, takes_bytes: bool
) -> None:
    """Whatever pieces a stream arrives in, the messages are those that were sent, with payloads of any size."""

    def forever() -> Iterator[int]:
        while True:
            yield from steps
            yield 4096

    sent = [
        (kind, [[number, forms[form](bytes([number + 65]) * size)] for number, size in enumerate(batch)], 1)
        for kind, batch in enumerate(batches)
    ]
    messages = [(kind, [[plain(field) for field in item] for item in items]) for kind, items, _ in sent]
    assert read(stream(*sent), forever(), takes_bytes) == messages


@given(st.binary(max_size=200))
def test_rubbish_is_refused_and_nothing_else(data: bytes) -> None:
    """Bytes that are no message raise RemoteProtocolError, or wait for more; they never crash the node."""
    reader = Reader()
    reader.target()[: len(data)] = data
    try:
        reader.received(len(data))
    except RemoteProtocolError:
        pass


@given(st.recursive(st.integers() | st.binary() | st.text() | st.none(), lambda of: st.lists(of), max_leaves=9))
def test_a_head_of_the_wrong_shape_is_refused(head: Any) -> None:
    """A head that is msgpack, but not a message, raises RemoteProtocolError."""
    import msgpack

    try:
        packed = msgpack.packb(head)
    except OverflowError:
        return
    data = HEADER.pack(len(packed), 0) + packed
    reader = Reader()
    if len(data) <= len(reader.target()):
        reader.target()[: len(data)] = data
        try:
            reader.received(len(data))
        except RemoteProtocolError:
            pass


def test_lengths_are_bounded_both_ways() -> None:
    """A length above the bound is refused before anything is allocated for it, and not sent either."""
    reader = Reader()
    header = HEADER.pack(10, MAX_MESSAGE_BYTES)
    reader.target()[: len(header)] = header
    with pytest.raises(RemoteProtocolError, match="above"):
        reader.received(len(header))
    piece = memoryview(bytes(2**20))
    with pytest.raises(LocalProtocolError, match="send less"):
        Packer().pack(1, [[[piece] * 4200]], 0)


def test_each_large_payload_has_a_writable_buffer_of_its_own() -> None:
    """Large payloads arrive in separate, writable buffers, so that one can be dropped while another is kept."""
    rows = [[b"a" * 50_000], [b"b" * 50_000]]
    (first,), (second,) = _messages(stream((1, rows, 0)))[0].items
    assert isinstance(first, list)
    assert not first[0].readonly
    assert first[0].obj is not second[0].obj
    assert bytes(second[0]) == b"b" * 50_000


def _messages(data: bytes) -> list[Any]:
    reader, got = Reader(), []
    while data:
        target = reader.target()
        count = min(len(target), len(data))
        target[:count] = data[:count]
        got += reader.received(count)
        data = data[count:]
    return got


def test_the_node_never_waits(pair: Pair) -> None:
    """A full socket leaves the rest to the next flush; nothing to read gives nothing."""
    peer, child = pair
    data = bytes(range(256)) * 40_000
    assert peer.feed() == []
    assert peer.dry
    peer.put(2, [[data]], 0)
    assert not peer.flush()
    got: list[Any] = []
    reader = threading.Thread(target=lambda: got.extend(child.receive() or []))
    reader.start()
    while not peer.flush():
        pass
    reader.join()
    assert plain(got[0].items[0][0]) == data


def test_what_was_written_before_the_end_arrives(pair: Pair) -> None:
    """Messages sent before a side closed, with messages unread, are read before its end is seen."""
    peer, child = pair
    peer.put(2, [[1]])
    peer.flush()
    child.send(5, [[1, b"result"]], 1)
    child.close()
    assert [message.items for message in peer.feed()] == [[[1, b"result"]]]
    assert peer.dry
    assert peer.feed() == []
    assert peer.eof
    peer.put(2, [[2]])
    assert peer.flush()


def test_the_end_reaches_the_worker_after_all_messages(pair: Pair) -> None:
    """A worker reads what was sent, then the end; peeking does not wait."""
    peer, child = pair
    assert child.receive(wait=False) == []
    peer.put(2, [[1]])
    peer.flush()
    peer.finish()
    assert [message.items for message in child.receive() or []] == [[[1]]]
    assert child.receive() is None


def test_threads_may_send_at_once(pair: Pair) -> None:
    """Messages of several threads come through whole, large ones included."""
    peer, child = pair
    data = b"z" * 300_000

    def talk(name: int) -> None:
        for number in range(20):
            child.send(6, [[name, number, data if number % 5 == 0 else b"small"]], 2)

    threads = [threading.Thread(target=talk, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    got: list[Any] = []
    while len(got) < 80:
        got += peer.feed()
    for thread in threads:
        thread.join()
    for name in range(4):
        mine = [message.items[0] for message in got if message.items[0][0] == name]
        assert [item[1] for item in mine] == list(range(20))
        assert all(plain(item[2]) == (data if item[1] % 5 == 0 else b"small") for item in mine)


@pytest.mark.parametrize("step", [7, 1_000, 100_000])
def test_what_is_before_an_area_is_read_apart_from_it(step: int) -> None:
    """So bytes and arrays are read to where they stay."""
    serializer = codec.serializer("msgpack")
    value = bytes(range(256)) * 1000
    data, reader, payloads = stream((1, [[0, serializer.dumps(value, "value")]], 1)), Reader(), []
    while data:
        count = min(len(reader.target()), len(data), step)
        reader.target()[:count] = data[:count]
        payloads += [message.items[0][1] for message in reader.received(count)]
        data = data[count:]
    (payload,) = payloads
    assert type(payload) is Gathered
    assert serializer.loads(payload) == value


def test_bytes_are_received_as_such_from_the_second_on(pair: Pair) -> None:
    """What is received is the value itself; the first one has been read in part before anybody knew of it."""
    peer, child = pair
    serializer = codec.serializer("msgpack")
    values = [bytes([number]) * 100_000 for number in range(3)]
    copies = []
    for value in values:
        peer.put(2, [[0, serializer.dumps(value, "value")], [1, b"small"]], 1)
        assert peer.flush()
        (message,) = child.receive() or []
        (_, payload), (_, small) = message.items
        assert small == b"small"
        decoded = serializer.loads(payload)
        assert decoded == value
        copies.append(decoded is not payload[1])
    assert copies == [True, False, False]


def test_bytes_come_to_who_waits_for_them(pair: Pair) -> None:
    """A look at what is there takes nothing of them, and what comes before and after them stays in its order."""
    peer, child = pair
    payload = codec.serializer("msgpack").dumps(b"x" * 100_000, "value")
    for number, each in enumerate([payload, payload, b"small", b"small"]):
        peer.put(number, [[each]], 0)
    assert peer.flush()
    got = []
    while len(got) < 4:
        looked = child.receive(wait=False)
        assert looked is not None
        if looked and looked[0].kind == 1:
            pytest.fail("bytes were taken that nobody has waited for")
        got += [message.kind for message in looked or child.receive() or []]
    assert got == [0, 1, 2, 3]


def test_bytes_that_end_too_soon_are_the_end(pair: Pair) -> None:
    """A node that dies amid a payload ends its worker, whatever has come of it."""
    peer, child = pair
    payload = codec.serializer("msgpack").dumps(b"x" * 100_000, "value")
    first, second = stream((2, [[payload]], 0)), stream((2, [[payload]], 0))
    with socket.socket(fileno=os.dup(peer.fileno())) as sock:
        sock.setblocking(True)
        sock.sendall(first + second[:-1])
        assert len(child.receive() or []) == 1
        peer.close()
        sock.shutdown(socket.SHUT_RDWR)
    assert child.receive() is None


@pytest.mark.parametrize("place", [[0, 0, 20, 21], [0, 0, 20, -1], [0, 0, 20, 1.5], [0, 0, 20]])
def test_an_area_that_cannot_be_is_refused(place: list[Any]) -> None:
    """User code in a worker may write anything into its socket."""
    head = msgpack.packb([1, [[None]], [place]])
    data = HEADER.pack(len(head), 20) + head
    reader = Reader()
    reader.target()[: len(data)] = data
    with pytest.raises(RemoteProtocolError, match="cannot be read"):
        reader.received(len(data))
