"""Callers: which connection leads to which client's lane, and who may take an id over."""

from __future__ import annotations

import pytest

from meshq.core import callers
from meshq.core.callers import ROUTES_EACH, Caller, Callers
from meshq.protocol.messages import PROTOCOL_VERSION, Hello

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16
SECRET = b"s" * 16


def hello(
    client: bytes = A,
    *,
    secret: bytes = SECRET,
    mesh: str = "m",
    lane: str = "work",
    lowest: int = 1,
    highest: int = 1,
) -> Hello:
    """Return a client's greeting."""
    return Hello(client, secret, mesh, lane, "client", lowest, highest)


@pytest.fixture
def book() -> Callers:
    """Begin with nobody in the mesh ``m``."""
    return Callers("m")


def code(book: Callers, route: bytes, greeting: Hello, user: str = "") -> str:
    """Greet, and return the code of the refusal, or "" """
    refusal = book.greet(route, user, greeting)
    return "" if refusal is None else refusal.code


def test_a_client_that_greets_can_be_answered(book: Callers) -> None:
    """The route leads to the client's lane, and the lane to the route."""
    assert book.who(b"1") is None
    assert book.route(A, "work") is None
    assert code(book, b"1", hello()) == ""
    assert book.who(b"1") == Caller(A, "work")
    assert book.route(A, "work") == b"1"


def test_each_lane_has_a_route_of_its_own(book: Callers) -> None:
    """Work and control of one client are two connections."""
    assert code(book, b"1", hello()) == code(book, b"2", hello(lane="control")) == ""
    assert (book.route(A, "work"), book.route(A, "control")) == (b"1", b"2")


def test_the_newest_greeting_counts(book: Callers) -> None:
    """After a reconnection the client is answered over the new route, and the old one's end is no news of it."""
    book.greet(b"1", "", hello())
    book.greet(b"2", "", hello())
    assert book.route(A, "work") == b"2"
    assert book.drop(b"1") is None
    assert book.who(b"1") is None
    assert book.route(A, "work") == b"2"


def test_a_client_is_answered_where_it_speaks(book: Callers) -> None:
    """One that found the node at two addresses keeps one connection, be it the first that it greeted over."""
    book.greet(b"1", "", hello())
    assert not book.use(b"1")
    book.greet(b"2", "", hello())
    assert book.who(b"1") == Caller(A, "work")
    assert book.use(b"1")
    assert not book.use(b"1")
    assert book.route(A, "work") == b"1"
    assert book.drop(b"2") is None
    assert book.drop(b"1") == Caller(A, "work")


def test_another_route_is_used_after_the_end_of_the_one_in_use(book: Callers) -> None:
    """The client counts as out of reach until it speaks over it."""
    book.greet(b"1", "", hello())
    book.greet(b"2", "", hello())
    assert book.drop(b"2") == Caller(A, "work")
    assert book.route(A, "work") is None
    assert book.use(b"1")
    assert book.route(A, "work") == b"1"


def test_the_number_of_routes_is_bounded(book: Callers) -> None:
    """Of a client that reconnects without end the oldest routes are forgotten."""
    for number in range(ROUTES_EACH + 3):
        book.greet(bytes([number]), "", hello())
    assert [number for number in range(ROUTES_EACH + 3) if book.who(bytes([number]))] == [
        *range(3, ROUTES_EACH + 3)
    ]


def test_a_route_that_greets_as_somebody_else_is_theirs(book: Callers) -> None:
    """One connection belongs to one client at a time."""
    book.greet(b"1", "", hello())
    book.greet(b"1", "", hello(B))
    assert (book.who(b"1"), book.route(A, "work"), book.route(B, "work")) == (Caller(B, "work"), None, b"1")


def test_a_greeting_may_be_repeated(book: Callers) -> None:
    """A HELLO that comes twice over one connection changes nothing."""
    book.greet(b"1", "", hello())
    assert code(book, b"1", hello()) == ""
    assert (book.route(A, "work"), book.who(b"1")) == (b"1", Caller(A, "work"))


def test_a_route_that_leads_nowhere_is_dropped(book: Callers) -> None:
    """Whose it was is returned; the client may come back over another."""
    book.greet(b"1", "", hello())
    assert book.drop(b"1") == Caller(A, "work")
    assert book.route(A, "work") is None
    assert book.drop(b"1") is None
    assert code(book, b"2", hello()) == ""


def test_only_who_knows_the_secret_takes_an_id_over(book: Callers) -> None:
    """Another secret is refused, and the client keeps its route; so it is after the route has gone."""
    book.greet(b"1", "", hello())
    assert code(book, b"2", hello(secret=b"x" * 16)) == "owner"
    assert book.who(b"2") is None
    assert book.route(A, "work") == b"1"
    book.drop(b"1")
    assert code(book, b"2", hello(secret=b"x" * 16)) == "owner"


def test_ids_belong_to_the_key_that_was_proved(book: Callers) -> None:
    """The same id under another key has a secret of its own."""
    book.greet(b"1", "key one", hello())
    assert code(book, b"2", hello(secret=b"x" * 16), user="key two") == ""


def test_a_client_that_has_left_is_forgotten(book: Callers) -> None:
    """Its id is free again, while the others' stay theirs; all its connections are strangers' from then on."""
    for route in (b"1", b"5"):
        book.greet(route, "", hello())
    book.greet(b"6", "", hello(lane="control"))
    book.greet(b"2", "", hello(B))
    assert sorted(book.forget(A)) == [b"1", b"5", b"6"]
    assert book.route(A, "work") is book.route(A, "control") is None
    assert [book.who(route) for route in (b"1", b"5", b"6")] == [None] * 3
    assert book.who(b"2") == Caller(B, "work")
    assert book.forget(A) == []
    assert code(book, b"3", hello(secret=b"x" * 16)) == ""
    assert code(book, b"4", hello(B, secret=b"x" * 16)) == "owner"


def test_another_mesh_is_refused(book: Callers) -> None:
    """Both names are in the words of the refusal."""
    refusal = book.greet(b"1", "", hello(mesh="other"))
    assert refusal is not None
    assert refusal.code == "mesh"
    assert "'m'" in refusal.text
    assert "'other'" in refusal.text


def test_a_lane_that_is_unknown_is_refused(book: Callers) -> None:
    """Else a client could fill the table with lanes of its own invention."""
    assert code(book, b"1", hello(lane="lane 17")) == "lane"
    assert book.who(b"1") is None


@pytest.mark.parametrize(
    ("lowest", "highest"), [(PROTOCOL_VERSION + 1, PROTOCOL_VERSION + 3), (0, PROTOCOL_VERSION - 1)]
)
def test_a_client_that_cannot_speak_this_version_is_refused(book: Callers, lowest: int, highest: int) -> None:
    """The version that is spoken here is in the words of the refusal."""
    refusal = book.greet(b"1", "", hello(lowest=lowest, highest=highest))
    assert refusal is not None
    assert (refusal.code, str(PROTOCOL_VERSION) in refusal.text) == ("version", True)


def test_a_client_that_speaks_several_versions_is_taken(book: Callers) -> None:
    """It is enough that the version spoken here is among them."""
    assert code(book, b"1", hello(lowest=0, highest=PROTOCOL_VERSION + 5)) == ""


def test_the_number_of_clients_is_bounded(book: Callers, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the table is full who is known may still come back, and one that leaves makes room."""
    monkeypatch.setattr(callers, "MAX_CALLERS", 1)
    book.greet(b"1", "", hello())
    assert code(book, b"2", hello(B)) == "full"
    assert code(book, b"3", hello()) == ""
    book.forget(A)
    assert code(book, b"2", hello(B)) == ""


def test_an_id_stays_its_owner_s_while_the_node_has_its_account(
    book: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many strangers come while it is out of reach: its secret goes when its account does, no sooner."""
    monkeypatch.setattr(callers, "MAX_CALLERS", 2)
    for route, lane in ((b"1", "work"), (b"2", "control")):
        book.greet(route, "", hello(lane=lane))
    book.drop(b"1")
    book.drop(b"2")
    assert code(book, b"3", hello(B)) == ""
    assert code(book, b"4", hello(C)) == "full"
    assert code(book, b"5", hello(secret=b"other")) == "owner"
    assert book.forget(A) == []
    assert code(book, b"4", hello(C)) == ""


def test_who_greeted_on_the_control_lane_alone_goes_with_its_last_connection(
    book: Callers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The node keeps no account of it, so nothing else would free its place."""
    monkeypatch.setattr(callers, "MAX_CALLERS", 1)
    for route in (b"1", b"2", b"2"):
        assert code(book, route, hello(lane="control")) == ""
    book.drop(b"1")
    assert code(book, b"3", hello(B)) == "full"
    assert code(book, b"3", hello(secret=b"other", lane="control")) == "owner"
    book.drop(b"2")
    assert book._secrets == {}
    assert code(book, b"3", hello(B, lane="control")) == ""


def test_who_is_answered_on_a_lane(book: Callers) -> None:
    """Each client once, where it greeted last, with the number of that greeting."""
    seventh = hello(B)._replace(greeting=7)
    for route, greeting in ((b"1", hello()), (b"2", hello()), (b"3", seventh), (b"4", hello(B, lane="control"))):
        assert code(book, route, greeting) == ""
    assert book.answered("work") == [(b"2", 0), (b"3", 7)]
    book.drop(b"3")
    assert book.answered("work") == [(b"2", 0)]
