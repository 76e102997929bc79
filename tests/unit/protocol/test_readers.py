"""Groups of messages as they come from the wire: many are read as well as one, and a wrong one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from meshq.errors import RemoteProtocolError
from meshq.protocol.messages import LONGEST_NAME, VERB_OF_MESSAGE, Hello, HelloAck, Rack, Result, Submit
from meshq.protocol.readers import READER_OF_VERB

COUNTS = [1, 7, 8, 300]


def read(cls: type[Any], items: list[Any]) -> list[Any]:
    """Read a group of this kind."""
    return READER_OF_VERB[VERB_OF_MESSAGE[cls]].read_all(items)


def results(count: int) -> list[list[Any]]:
    """Return the items of results."""
    return [[bytes([n % 256]) * 16, n, 0, "msgpack", b"x" * n, 0.5] for n in range(count)]


@pytest.mark.parametrize("count", COUNTS)
def test_all_messages_of_a_group_are_read_in_order(count: int) -> None:
    """However many there are, each comes out as what was sent."""
    items = results(count)
    assert read(Result, items) == [Result(*item) for item in items]
    assert all(type(message) is Result for message in read(Result, items))


@pytest.mark.parametrize("count", COUNTS)
def test_fields_that_a_newer_peer_has_added_are_left_out(count: int) -> None:
    """What lies beyond the known fields is ignored."""
    items = results(count)
    assert read(Result, [[*item, "new", 7] for item in items]) == [Result(*item) for item in items]


@pytest.mark.parametrize("count", COUNTS)
def test_optional_fields_that_an_older_peer_leaves_out_have_their_defaults(count: int) -> None:
    """A group without the last fields is read with their defaults."""
    items = [item[:5] for item in results(count)]
    assert read(Result, items) == [Result(*item, 0.0) for item in items]


def test_items_of_several_widths_are_read() -> None:
    """A group may mix what has an optional field and what has not."""
    items = [item if n % 2 else item[:5] for n, item in enumerate(results(40))]
    assert read(Result, items) == [Result(*item) for item in items]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    ("position", "wrong"),
    [(0, b"short"), (0, "text"), (0, None), (1, "1"), (1, True), (2, None), (3, b"m"), (4, "payload"), (5, "s")],
)
def test_one_wrong_field_is_refused_with_its_message(count: int, position: int, wrong: object) -> None:
    """A wrong value anywhere in a group is found, and named."""
    items = results(count)
    items[count // 2][position] = wrong
    with pytest.raises(RemoteProtocolError, match="a Result message has the wrong shape"):
        read(Result, items)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("wrong", [None, 5, b"bytes", {}, [], [b"t" * 16]])
def test_an_item_that_is_no_message_is_refused(count: int, wrong: object) -> None:
    """What is no list, or is too short, is found among good ones."""
    items: list[Any] = [[b"t" * 16, n] for n in range(count)]
    items[-1] = wrong
    with pytest.raises(RemoteProtocolError, match="a Rack message has the wrong shape"):
        read(Rack, items)


@pytest.mark.parametrize("count", COUNTS)
def test_containers_are_looked_into(count: int) -> None:
    """Options must have text for keys, and a list of names nothing but text."""
    good = [b"t" * 16, 1, "f", "msgpack", b"", False, {"priority": 7}]
    assert read(Submit, [good] * count) == [Submit(*good)] * count
    with pytest.raises(RemoteProtocolError, match="Submit"):
        read(Submit, [good] * (count - 1) + [[*good[:6], {7: "x"}]])
    ack = [b"n" * 16, 1, 1, "a", "h", 2, {"f": ""}, ["msgpack"], [], [], False]
    assert len(read(HelloAck, [ack] * count)) == count
    with pytest.raises(RemoteProtocolError, match="HelloAck"):
        read(HelloAck, [ack] * (count - 1) + [[*ack[:7], [7], [], [], False]])


@pytest.mark.parametrize("count", COUNTS)
def test_names_have_an_end(count: int) -> None:
    """One of a thousand characters is read, a longer one is refused: it would be said again, with more besides."""
    good = [b"t" * 16, 1, "f" * LONGEST_NAME, "s" * LONGEST_NAME, b""]
    assert read(Submit, [good] * count) == [Submit(*good)] * count
    for position in (2, 3):
        wrong = [*good]
        wrong[position] += "x"
        with pytest.raises(RemoteProtocolError, match="Submit"):
            read(Submit, [good] * (count - 1) + [wrong])
    plain = [b"c" * 16, b"s" * 16, "m", "work", "client", 1, 1]
    assert len(read(Hello, [plain] * count)) == count
    with pytest.raises(RemoteProtocolError, match="Hello"):
        read(Hello, [plain] * (count - 1) + [[*plain, "h" * (LONGEST_NAME + 1)]])
