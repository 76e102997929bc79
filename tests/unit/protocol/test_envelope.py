"""The envelope: every message there and back, and one error for whatever is wrong."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any, get_type_hints
from unittest.mock import Mock

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshq.errors import LocalProtocolError, RemoteProtocolError
from meshq.protocol.envelope import (
    MAGIC,
    MAX_BATCH_BYTES,
    MAX_PIECES,
    Header,
    Incoming,
    Outbox,
    UnsupportedVersion,
    decode,
    encode_header,
)
from meshq.protocol.messages import (
    MESSAGE_OF_VERB,
    Message,
    Nack,
    Parked,
    Part,
    Ping,
    Pong,
    Relay,
    Reply,
    Result,
    RevokedIds,
    Submit,
)
from meshq.protocol.parts import INLINE_BYTES, PIECE_BYTES, Joiner
from meshq.protocol.payload import Buffer, join_payload

HEADER = Header(b"s" * 16, b"d" * 16, 3)
IDS = {"task", "node", "client", "command", "secret"}
INTS = st.integers(-(2**63), 2**63 - 1)
PLAIN = st.none() | st.booleans() | INTS | st.text(max_size=5) | st.binary(max_size=5)
OF_HINT: dict[str, st.SearchStrategy[Any]] = {
    "bytes": st.binary(max_size=50),
    "str": st.text(max_size=10),
    "int": INTS,
    "float": st.floats(allow_nan=False),
    "bool": st.booleans(),
    "dict[str, str]": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
    "list[bytes]": st.lists(st.binary(min_size=16, max_size=16), max_size=3),
    "list[str]": st.lists(st.text(max_size=5), max_size=3),
    "list[list[typing.Any]]": st.lists(st.lists(PLAIN, max_size=3), max_size=3),
    "dict[str, typing.Any] | None": st.none() | st.dictionaries(st.text(max_size=5), PLAIN, max_size=3),
}


def messages_of(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Make messages of one kind, with any fields that their types allow."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for name, hint in get_type_hints(cls).items():
        if name in IDS:
            fields[name] = st.binary(min_size=16, max_size=16)
        elif name == "payload":
            fields[name] = st.binary(max_size=50)
        else:
            fields[name] = OF_HINT[str(hint) if hasattr(hint, "__args__") else hint.__name__]
    return st.builds(cls, **fields)


MESSAGES = st.one_of([messages_of(cls) for cls in MESSAGE_OF_VERB.values() if cls is not Part])


def taken_from(outbox: Outbox) -> list[list[Buffer]]:
    """Return every message that an outbox has to send, each as its frames."""
    taken = []
    while (frames := outbox.take()) is not None:
        taken.append(frames)
    return taken


def sent(messages: Iterable[Message]) -> list[list[Buffer]]:
    """Return every message that an outbox makes of these, whether they come one by one or together."""
    one_by_one, together = Outbox(HEADER), Outbox(HEADER)
    messages = list(messages)
    for message in messages:
        one_by_one.add(message)
    together.extend(messages)
    taken = taken_from(together)
    assert taken == taken_from(one_by_one)
    return taken


def received(taken: Iterable[list[Buffer]]) -> list[Any]:
    """Return what the other side reads, payloads joined."""
    joiner = Joiner()
    got: list[Any] = []
    for frames in taken:
        for message in decode([bytes(frame) for frame in frames], joiner).messages:
            whole = isinstance(message, Submit | Result) and join_payload(message.payload)
            got.append(message._replace(payload=whole) if whole is not False else message)
    return got


@given(st.lists(MESSAGES, max_size=12))
def test_any_messages_arrive_as_they_were(messages: list[Message]) -> None:
    """Small messages of every kind keep their contents and their order, in one message of the wire."""
    taken = sent(messages)
    assert len(taken) == (1 if messages else 0)
    got = received(taken)
    assert got == messages
    assert [type(message) for message in got] == [type(message) for message in messages]


def test_the_header_travels() -> None:
    """Who sends, to whom, and about which life of the node, is read from each message."""
    [frames] = sent([Ping(1)])
    assert decode(frames, Joiner()) == Incoming(HEADER, [Ping(1)], [])


def submit(payload: Any) -> Submit:
    """Make a SUBMIT of a payload."""
    return Submit(b"t" * 16, 1, "m.f", "raw", payload)


@pytest.mark.parametrize("size", [INLINE_BYTES, INLINE_BYTES + 1, PIECE_BYTES, PIECE_BYTES + 1, 70 * PIECE_BYTES])
def test_payloads_of_any_size_arrive(size: int) -> None:
    """Above the inline limit a payload goes in pieces; no message has too many, and small ones overtake."""
    payload = random.Random(size).randbytes(1024) * (size // 1024) + bytes(size % 1024)
    taken = sent([submit(payload), Ping(1)])
    assert all(len(frames) <= 1 + MAX_PIECES for frames in taken)
    assert all(len(frame) <= PIECE_BYTES for frames in taken for frame in frames)
    got = received(taken)
    assert sorted(got, key=len) == [Ping(1), submit(payload)]
    assert (got[0] == Ping(1)) == (size > INLINE_BYTES)


def test_what_waits_already_is_not_queued_again() -> None:
    """A large SUBMIT or RESULT that is sent again while it is on its way goes once; another attempt is another."""
    outbox = Outbox(HEADER)
    large = submit(bytes(3 * PIECE_BYTES))
    result = Result(large.task, 1, 0, "raw", bytes(2 * PIECE_BYTES))
    for message in (large, result, large, large._replace(attempt=2), result):
        outbox.add(message)
    taken = [outbox.take()]
    outbox.add(large)
    taken += iter(outbox.take, None)
    got = received([frames for frames in taken if frames is not None])
    assert [(type(each), each.attempt) for each in got] == [(Submit, 1), (Result, 1), (Submit, 2)]  # type: ignore[union-attr]
    outbox.add(large)
    assert received(list(iter(outbox.take, None))) == [large]


def test_a_payload_of_several_buffers_arrives() -> None:
    """The list form of a payload is read as its concatenation, small or large."""
    large: list[Buffer] = [b"a" * 20_000, bytearray(b"b" * 30), memoryview(b"c" * 2_000_000)]
    small: list[Buffer] = [b"a", memoryview(b"b")]
    assert received(sent([submit(large), submit(small)])) == [submit(b"ab"), submit(join_payload(large))]


def test_many_messages_are_cut_into_batches_within_the_limit() -> None:
    """A long queue becomes several messages, each within its limit, nothing lost or out of order."""
    messages = [submit(bytes([n % 256]) * 5_000) for n in range(700)]
    taken = sent(messages)
    assert len(taken) > 1
    assert max(len(frames[0]) for frames in taken) <= MAX_BATCH_BYTES
    assert received(taken) == messages


def test_many_messages_are_cut_by_their_number_too() -> None:
    """So that the other side is at work on the first while the next is packed; those of any kind count."""
    messages: list[Message] = [Ping(1), *(submit(b"x") for _ in range(600)), *(Pong(n) for n in range(500))]
    taken = sent(messages)
    counts = [len(received([frames])) for frames in taken]
    assert (received(taken), counts) == (messages, [512, 512, 77])


def test_messages_larger_than_estimated_are_cut_too() -> None:
    """Long lists, whose size is not estimated, do not break the limit, nor lose what is near."""
    relays: list[Any] = [Relay(b"c" * 16, "revoke", [b"t" * 16] * 16_000) for _ in range(9)]
    large = submit(bytes(3_000_000))
    got = received(sent([*relays, large, Ping(9)]))
    assert [message for message in got if message != large] == [*relays, Ping(9)]
    assert large in got


def test_answers_to_control_commands_are_packed_once() -> None:
    """A hundred large ones take a hundred times as long as one, and not ten thousand times."""
    replies = [Reply(b"c" * 16, b"n" * 16, "node@host", bytes([n]) * 500_000) for n in range(100)]
    outbox = Outbox(HEADER)
    for reply in replies:
        outbox.add(reply)
    packed = []
    pack, outbox._packer = outbox._packer.pack, Mock()
    outbox._packer.pack.side_effect = lambda groups: packed.append(pack(groups)) or packed[-1]
    assert received(list(iter(outbox.take, None))) == replies
    assert sum(map(len, packed)) < 200 * 500_000


def test_what_waits_is_known() -> None:
    """In bytes, about: the payloads of tasks, small and large, and all the rest."""
    outbox = Outbox(HEADER)
    assert outbox.waiting() == (0, 0)
    outbox.add(submit(bytes(3 * PIECE_BYTES)))
    outbox.add(submit([bytes(1_000), bytes(500)]))
    assert outbox.waiting().payloads == 3 * PIECE_BYTES + 1_500
    outbox.add(Reply(b"c" * 16, b"n" * 16, "node@host", bytes(300_000)))
    outbox.add(RevokedIds([[b"t" * 16, 900.0]] * 2_000))
    assert 350_000 < outbox.waiting().others < 500_000
    outbox.take()
    assert 0 < outbox.waiting().payloads <= 2 * PIECE_BYTES
    assert list(iter(outbox.take, None))
    assert outbox.waiting() == (0, 0)


def test_a_message_over_the_limit_is_a_local_error() -> None:
    """What can never be sent is refused on this side."""
    with pytest.raises(LocalProtocolError, match="over 1 MiB"):
        sent([Reply(b"c" * 16, b"n" * 16, "node@host", bytes(MAX_BATCH_BYTES))])


TOO_LARGE = [
    Reply(b"c" * 16, b"n" * 16, "node@host", bytes(MAX_BATCH_BYTES)),
    Nack(b"t" * 16, 1, "full", "x" * MAX_BATCH_BYTES),
    Submit(b"u" * 16, 1, "f" * MAX_BATCH_BYTES, "raw", bytes(100_000)),
    Nack(b"t" * 16, 1, "full", "\ud800"),
    Ping(2**70),
]


@pytest.mark.parametrize("wrong", TOO_LARGE, ids=["reply", "text", "large payload", "no text", "no number"])
def test_what_cannot_be_sent_takes_nothing_else_with_it(wrong: Message) -> None:
    """It is dropped alone; large payloads and small messages beside it go out, and the error is told once."""
    outbox = Outbox(HEADER)
    large = submit(bytes(3 * PIECE_BYTES))
    for message in (Ping(1), wrong, large, Ping(2)):
        outbox.add(message)
    frames: list[list[Buffer]] = []
    errors: list[str] = []
    while outbox:
        try:
            taken = outbox.take()
        except LocalProtocolError as error:
            errors.append(str(error))
        else:
            frames += [taken] if taken else []
    assert len(errors) == 1
    assert type(wrong).__name__ in errors[0]
    assert outbox.waiting() == (0, 0)
    joiner = Joiner()
    came = [message for each in frames for message in decode(each, joiner).messages]
    assert [message for message in came if type(message) is Ping] == [Ping(1), Ping(2)]
    [whole] = [message for message in came if type(message) is Submit]
    assert join_payload(whole.payload) == bytes(3 * PIECE_BYTES)


PREFIX = encode_header(HEADER)


def frames_of(batch: object, *more: Buffer) -> list[Buffer]:
    """Make the frames of a message with any batch."""
    return [PREFIX + msgpack.packb(batch), *more]


def test_an_unknown_verb_is_told_and_skipped() -> None:
    """A newer peer's message is reported by its verb, and the rest is read."""
    incoming = decode(frames_of([[999, [1, 2]], [13, [5]]]), Joiner())
    assert (incoming.unknown, incoming.messages) == ([999], [Ping(5)])


def test_fields_of_newer_peers_are_ignored_and_optional_ones_may_be_missing() -> None:
    """Versions that differ in optional fields understand each other."""
    assert decode(frames_of([[14, [5, "new", {"x": 1}]]]), Joiner()).messages == [Pong(5)]
    got = decode(frames_of([[4, [b"t" * 16, 1, "m.f", "raw", b"p"]]]), Joiner()).messages
    assert got == [submit(b"p")]


def test_another_version_is_told_apart_from_garbage() -> None:
    """A peer of another version is known as such, so that it can be answered."""
    for rest in (b"", b"\0", b"\xff\xff", PREFIX[6:]):
        with pytest.raises(UnsupportedVersion, match="version 9"):
            decode([MAGIC[:-1] + b"\x09" + rest], Joiner())


def test_what_later_peers_may_leave_out_or_add() -> None:
    """How long a task stays parked is optional; rows of revoked ids are read whatever they hold."""
    rows = [[b"t" * 16, 5.0], [], [None, "x", {}]]
    got = decode(frames_of([[21, [b"t" * 16, 1]], [25, [rows]]]), Joiner()).messages
    assert got == [Parked(b"t" * 16, 1, 0.0), RevokedIds(rows)]


def nested(depth: int) -> list[Any]:
    """Make a list in a list, and so on."""
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    return deep


def headed(header: bytes, size: int | None = None) -> list[Buffer]:
    """Make the frames of a message with any header, whatever it says of its length."""
    length = len(header) if size is None else size
    return [MAGIC + length.to_bytes(2, "big") + header + msgpack.packb([[13, [1]]])]


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [MAGIC],
        [b"GET / HTTP/1.1"],
        [b"another" + PREFIX[6:] + msgpack.packb([])],
        [PREFIX],
        [PREFIX[:-1]],
        headed(b""),
        headed(msgpack.packb([])),
        headed(msgpack.packb({"s": 1})),
        headed(msgpack.packb({"s": nested(990)})),
        headed(PREFIX[8:], len(PREFIX) - 9),
        headed(PREFIX[8:], len(PREFIX) - 7),
        headed(PREFIX[8:], 2**16 - 1),
        headed(bytes(2**16 - 1)),
        [PREFIX + bytes(MAX_BATCH_BYTES + 1)],
        [*frames_of([[13, [1]]]), *[b""] * (MAX_PIECES + 1)],
        [PREFIX + b"\xc1"],
        [PREFIX + b"\xdd\xff\xff\xff\xff"],
        [PREFIX + b"\x91" * 5000],
        frames_of({}),
        frames_of([1]),
        frames_of([[]]),
        frames_of([["x"]]),
        frames_of([[13, 5]]),
        frames_of([[13, []]]),
        frames_of([[13, ["x"]]]),
        frames_of([[13, [True]]]),
        frames_of([[13, [nested(990)]]]),
        frames_of([[5, [b"short", 1]]]),
        frames_of([[4, [b"t" * 16, 1, "f", "raw", b"", False, {1: 2}]]]),
        frames_of([[20, [1, 0, 5]]]),
        frames_of([[21, [b"short", 1]]]),
        frames_of([[21, [b"t" * 16, 1, "soon"]]]),
        frames_of([[22, [b"c" * 16, "revoke"]]]),
        frames_of([[22, [b"c" * 16, "revoke", b"t" * 16]]]),
        frames_of([[22, [b"c" * 16, "revoke", [b"short"]]]]),
        frames_of([[22, [b"c" * 16, "revoke", ["t" * 16]]]]),
        frames_of([[22, [b"short", "purge", []]]]),
        frames_of([[23, [b"c" * 16, "many"]]]),
        frames_of([[23, [b"short", 1]]]),
        frames_of([[24, ["digest"]]]),
        frames_of([[25, [{}]]]),
        frames_of([[25, [[b"t" * 16]]]]),
        frames_of([[20, [1, 0, 2**40]]], b"x"),
    ],
)
def test_a_malformed_message_is_a_remote_protocol_error(frames: list[Buffer]) -> None:
    """Whatever is wrong with a message, one error says so."""
    with pytest.raises(RemoteProtocolError):
        decode(frames, Joiner())


def test_a_payload_that_never_came_whole_leaves_its_message_out() -> None:
    """A SUBMIT whose pieces were lost with a connection is dropped, and sent again by its owner."""
    assert decode(frames_of([[4, [b"t" * 16, 1, "f", "raw", 77]]]), Joiner()).messages == []


@given(st.lists(MESSAGES, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_mutated_frames_are_read_or_refused(messages: list[Message], chance: random.Random) -> None:
    """Bytes changed on the way raise RemoteProtocolError, or are another message, and nothing else."""
    frames = [bytearray(frame) for frame in sent([*messages, submit(bytes(20_000))])[0]]
    for _ in range(3):
        frame = chance.choice(frames)
        frame[chance.randrange(len(frame))] = chance.randrange(256)
    try:
        incoming = decode([bytes(frame) for frame in frames], Joiner())
    except RemoteProtocolError:
        return
    assert all(type(message) in MESSAGE_OF_VERB.values() for message in incoming.messages)
