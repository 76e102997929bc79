"""Peers of other versions, in raw bytes: what they add is passed over, what they leave out has its default."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from meshq.errors import RemoteProtocolError
from meshq.protocol import envelope, versions
from meshq.protocol.envelope import Header, Outbox, UnsupportedVersion, decode, encode_header
from meshq.protocol.messages import (
    LOWEST_VERSION,
    MESSAGE_OF_VERB,
    PROTOCOL_VERSION,
    Hello,
    Nack,
    Part,
    Ping,
    Refused,
    Result,
    Submit,
)
from meshq.protocol.parts import Joiner
from meshq.protocol.versions import StrangeVerbs, agreed, refuse_client, refuse_node

ID = b"i" * 16
OF_FIELD: dict[str, Any] = {
    "bytes": b"b", "str": "text", "int": 3, "float": 0.5, "bool": True, "list[str]": ["a"], "list[bytes]": [ID],
    "list[list[Any]]": [[ID, 3]], "dict[str, str]": {"a": "b"}, "dict[str, Any] | None": {"once": True},
    "Payload": b"payload",
}  # fmt: skip
IDS = {"task", "node", "client", "command", "secret"}
VERBS = [verb for verb, cls in MESSAGE_OF_VERB.items() if cls is not Part]


def fields_of(cls: type[Any]) -> list[Any]:
    """Make a value for each field of a message, as msgpack would give it."""
    hints = cls.__annotations__
    return [
        ID if name in IDS else OF_FIELD[getattr(hint, "__forward_arg__", hint)] for name, hint in hints.items()
    ]


def frames_of(batch: Any, version: int = 1) -> list[bytes]:
    """Make the frames of a message by hand."""
    return [b"meshq" + bytes([version]) + encode_header(Header(ID))[6:] + msgpack.packb(batch)]


def read(batch: Any) -> list[Any]:
    """Return what is read of a batch."""
    return decode(frames_of(batch), Joiner()).messages


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("verb", VERBS)
def test_fields_that_a_newer_peer_adds_are_passed_over(verb: int, count: int) -> None:
    """Of each message, few of a kind or many: they are read a column at a time."""
    cls = MESSAGE_OF_VERB[verb]
    fields = fields_of(cls)
    assert read([[verb, *[[*fields, {"x": [1]}, None]] * count]]) == [cls(*fields)] * count
    mixed = [[*fields, "new"] if number % 2 else fields for number in range(count)]
    assert read([[verb, *mixed]]) == [cls(*fields)] * count


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("verb", [verb for verb in VERBS if MESSAGE_OF_VERB[verb]._field_defaults])
def test_fields_that_an_older_peer_leaves_out_have_their_defaults(verb: int, count: int) -> None:
    """Of each message that has optional ones, however many of them are left out."""
    cls = MESSAGE_OF_VERB[verb]
    fields = fields_of(cls)
    for kept in range(len(fields) - len(cls._field_defaults), len(fields)):
        expected = cls(*fields[:kept])
        assert read([[verb, *[fields[:kept]] * count]]) == [expected] * count
        assert expected[kept:] == tuple(cls._field_defaults.values())[kept - len(fields) :]


@pytest.mark.parametrize("verb", VERBS)
def test_a_field_that_is_not_optional_must_be_there(verb: int) -> None:
    """The error names the message."""
    cls = MESSAGE_OF_VERB[verb]
    fields = fields_of(cls)[: len(cls._fields) - len(cls._field_defaults)]
    if fields:  # else all are optional
        with pytest.raises(RemoteProtocolError, match=cls.__name__):
            read([[verb, fields[:-1]]])


def test_verbs_that_are_not_known_are_told_and_the_rest_is_read() -> None:
    """Wherever they stand, and whatever they hold."""
    batch = [[200, 1, {}], [13, [1]], [2**63], [13, [2]], [-1, [[]]], [200, None]]
    incoming = decode(frames_of(batch), Joiner())
    assert (incoming.messages, incoming.unknown) == ([Ping(1), Ping(2)], [200, 2**63, -1, 200])


def test_values_that_are_not_known_are_read() -> None:
    """A later status, reason or code is for the machines to make something of."""
    batch = [[7, [ID, 1, 99, "zstd", b""]], [9, [ID, 1, "tired"]], [3, ["why", "text"]]]
    assert read(batch) == [Result(ID, 1, 99, "zstd", b""), Nack(ID, 1, "tired"), Refused("why", "text")]


@pytest.mark.parametrize("version", [0, PROTOCOL_VERSION + 1, 255])
def test_frames_of_another_version_are_refused_before_they_are_read(version: int) -> None:
    """The error has its number, to be answered."""
    with pytest.raises(UnsupportedVersion, match=f"version {version} ") as caught:
        decode(frames_of("anything", version), Joiner())
    assert caught.value.version == version


def test_the_version_agreed_is_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    """As soon as there are two; one that was never offered is not."""
    monkeypatch.setitem(envelope.MAGIC_OF_VERSION, 2, b"meshq\x02")
    outbox = Outbox(Header(ID))
    spoken = []
    for version in (None, 2, 77, 1):
        if version is not None:
            outbox.speak(version)
        outbox.add(Submit(ID, 1, "f", "raw", b""))
        frames = outbox.take()
        assert frames is not None
        assert decode([bytes(frame) for frame in frames], Joiner()).messages
        spoken.append(frames[0][5])
    assert spoken == [1, 2, 2, 1]


def hello(lowest: int, highest: int) -> Hello:
    """Return the greeting of a client that speaks these versions."""
    return Hello(ID, ID, "m", "work", "client", lowest, highest)


@pytest.mark.parametrize(
    ("node", "client", "version"),
    [
        ((1, 1), (1, 1), 1),
        ((1, 1), (1, 2), 1),
        ((1, 2), (1, 1), 1),
        ((1, 2), (1, 2), 2),
        ((1, 3), (2, 9), 3),
        ((2, 3), (1, 2), 2),
        ((1, 1), (2, 2), None),
        ((2, 2), (1, 1), None),
        ((1, 9), (5, 4), None),
    ],
)
def test_the_highest_version_that_both_speak_is_agreed(
    node: tuple[int, int], client: tuple[int, int], version: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or none, where there is none; and so for ranges that make no sense."""
    monkeypatch.setattr(versions, "LOWEST_VERSION", node[0])
    monkeypatch.setattr(versions, "PROTOCOL_VERSION", node[1])
    assert agreed(hello(*client)) == version


def test_a_refusal_says_which_side_is_older(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is read at the client, so "here" is there."""
    assert (LOWEST_VERSION, PROTOCOL_VERSION) == (1, 1)
    newer = refuse_client(2, 3)
    assert newer == Refused(
        "version", "it speaks version 1 of the wire, and this is version 2 to 3: upgrade meshq there"
    )
    assert refuse_node(2).text == "it speaks version 2 of the wire, and this is version 1: upgrade meshq here"
    monkeypatch.setattr(versions, "LOWEST_VERSION", 4)
    monkeypatch.setattr(versions, "PROTOCOL_VERSION", 5)
    assert refuse_client(1, 1).text.endswith(
        "version 4 to 5 of the wire, and this is version 1: upgrade meshq here"
    )


def test_a_peer_is_told_once_of_verbs_that_are_not_known() -> None:
    """Briefly, and without end remembered, whatever it sends."""
    strange = StrangeVerbs()
    assert strange.refuse([201, 200, 200]) == [
        Refused("verb", "verbs 200, 201 are not known to version 1 of the wire")
    ]
    assert strange.refuse([200, 201]) == []
    [answer] = strange.refuse([200, 202])
    assert "verbs 202 are" in answer.text
    [answer] = strange.refuse(range(300_000, 600_000))
    assert len(answer.text) < 200
    assert "and 299992 more" in answer.text
    assert len(strange._told) == 64
