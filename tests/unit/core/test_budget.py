"""The budget of a node: what is taken, who is refused, who is passed over, and what gives way."""

from __future__ import annotations

from typing import NoReturn

import pytest

from meshq.core.budget import SMALL_BYTES, Budget, large_size
from meshq.core.held import ClientAccount, Held, HeldState
from meshq.protocol.messages import Result, Status, Submit

TOTAL = 80_000
MOST, HALF, QUARTER = 30_000, 40_000, 20_000


class Books:
    """A budget, three clients, and what it has told of them."""

    def __init__(self, total: int = TOTAL) -> None:
        self.told: list[str] = []
        self.budget = Budget(total, self._pause, self._resume)
        self.clients = {name: ClientAccount(name.encode() * 16, now=0.0) for name in "ABC"}
        self._count = 0

    def _pause(self, client: ClientAccount) -> None:
        client.stalled = True
        self.told.append(f"{client.client.decode()[0]} stalls")

    def _resume(self, client: ClientAccount) -> None:
        client.stalled = False
        self.told.append(f"{client.client.decode()[0]} goes on")

    def hold(self, name: str) -> Held:
        """Hold an attempt of a client, of which nothing is booked."""
        self._count += 1
        client = self.clients[name]
        held = Held(client, *Submit(self._count.to_bytes(16, "big"), 1, "f", "msgpack", b"", False))
        client.held[held.task] = held
        return held

    def take(self, name: str, size: int) -> Held:
        """Book arguments."""
        held = self.hold(name)
        self.budget.take(held, size)
        return held

    def keep(self, name: str, size: int, status: int = Status.OK) -> Held:
        """Book a result."""
        held = self.hold(name)
        held.state = HeldState.DONE
        held.result = Result(held.task, 1, status, "msgpack", bytes(size))
        held.client.unacknowledged[held.task] = held
        self.budget.keep(held, size)
        return held

    def acknowledge(self, *helds: Held) -> None:
        """Let go of results."""
        for held in helds:
            del held.client.unacknowledged[held.task]
            self.budget.release(held)

    def sums(self) -> tuple[int, int, int]:
        """Return what is booked: arguments, results, and those of absent clients."""
        return self.budget.arguments, self.budget.results, self.budget.absent_results


def test_small_payloads_weigh_nothing() -> None:
    """In one piece or several."""
    assert large_size(bytes(SMALL_BYTES)) == large_size([b"a", b"b"]) == 0
    assert large_size(bytes(SMALL_BYTES + 1)) == SMALL_BYTES + 1
    assert large_size([bytes(SMALL_BYTES), memoryview(b"b")]) == SMALL_BYTES + 1


def test_arguments_are_booked_until_their_end() -> None:
    """For the client and in all."""
    books = Books()
    first, second = books.take("A", 5_000), books.take("B", 7_000)
    assert [client.arguments for client in books.clients.values()] == [5_000, 7_000, 0]
    assert books.sums() == (12_000, 0, 0)
    books.budget.release(first)
    books.budget.release(second)
    assert (books.clients["A"].arguments, books.sums(), books.told) == (0, (0, 0, 0), [])


def test_the_figures_are_told() -> None:
    """For whoever looks at the node."""
    books = Books()
    books.take("A", 5_000)
    books.keep("B", 7_000)
    books.budget.lose(books.clients["B"])
    assert books.budget.figures() == {"arguments": 5_000, "results": 0, "absent_results": 7_000, "limit": TOTAL}
    assert Budget().figures()["limit"] is None


def test_one_client_is_refused_before_it_takes_up_all() -> None:
    """It has three quarters of the room for arguments; the rest is for others, who are refused past that."""
    books = Books()
    a, b, c = books.clients.values()
    books.take("A", 25_000)
    assert books.budget.refusal(a, MOST - 25_000) == ""
    refusal = books.budget.refusal(a, MOST - 25_000 + 1)
    assert refusal == "the client has 25000 bytes of arguments here, and comes with 5001 more"
    assert books.budget.refusal(b, HALF - 25_000) == ""
    books.take("B", HALF - 25_000)
    assert books.budget.refusal(c, 1) == "the node has 40000 bytes of arguments, of the 40000 that it takes"


def test_arguments_of_any_size_find_room_where_there_are_no_others() -> None:
    """Or a task larger than the budget could run nowhere."""
    books = Books()
    assert books.budget.refusal(books.clients["A"], 10 * TOTAL) == ""
    books.take("A", 10 * TOTAL)
    assert "10 more" in books.budget.refusal(books.clients["A"], 10)
    assert "of the 40000" in books.budget.refusal(books.clients["B"], 10)


def test_clients_share_the_room_for_arguments() -> None:
    """What each may send goes down as they get more, and never to nothing: that would mean no limit."""
    assert [Books().budget.leave(active) for active in (1, 2, 4, 10**9)] == [MOST, QUARTER, 10_000, 1]


def test_without_a_limit_nothing_is_refused() -> None:
    """Nor is anybody passed over, whatever comes."""
    books = Books(total=0)
    assert books.budget.leave(3) == 0
    books.take("A", 2**50)
    books.keep("A", 2**20)
    assert books.budget.refusal(books.clients["A"], 2**50) == ""
    assert books.told == []


def test_a_client_that_does_not_acknowledge_is_passed_over_until_it_does() -> None:
    """From the moment on when it has as much here as there is room left: half of a quarter, alone."""
    books = Books()
    helds = [books.keep("A", 4_000) for _ in range(2)]
    assert books.told == []
    helds += [books.keep("A", 4_000), books.keep("A", 4_000)]
    assert books.told == ["A stalls"]
    assert books.sums() == (0, 16_000, 0)
    books.acknowledge(helds[0])
    assert books.told == ["A stalls"]
    books.acknowledge(*helds[1:])
    assert books.told == ["A stalls", "A goes on"]
    assert (books.sums(), books.clients["A"].results) == ((0, 0, 0), 0)


def test_others_go_on_while_one_is_passed_over() -> None:
    """They have what room is left; two that do not acknowledge have a third each."""
    books = Books()
    for _ in range(3):
        books.keep("A", 4_000)
    assert books.told == ["A stalls"]
    books.keep("B", 4_000)
    assert books.told == ["A stalls"]
    books.keep("B", 1_000)
    assert books.told == ["A stalls", "B stalls"]
    books.acknowledge(books.keep("C", 600))
    assert books.told == ["A stalls", "B stalls"]


def test_whoever_acknowledges_is_served_though_no_room_is_left() -> None:
    """With a result at a time, of a small part of the total."""
    books = Books()
    books.keep("A", 3 * QUARTER)
    books.acknowledge(books.keep("B", TOTAL // 128))
    assert books.told == ["A stalls"]
    books.acknowledge(books.keep("B", TOTAL // 128 + 1))
    assert books.told == ["A stalls", "B stalls", "B goes on"]


def test_results_of_absent_clients_are_booked_apart() -> None:
    """They are moved when the client goes, and back when it comes; what ends meanwhile is theirs as well."""
    books = Books()
    a = books.clients["A"]
    before = books.keep("A", 4_000)
    books.budget.lose(a)
    books.budget.lose(a)
    assert (a.connected, books.sums()) == (False, (0, 0, 4_000))
    meanwhile = books.keep("A", 5_000)
    assert books.sums() == (0, 0, 9_000)
    books.budget.regain(a)
    books.budget.regain(a)
    assert (a.connected, books.sums()) == (True, (0, 9_000, 0))
    books.acknowledge(before, meanwhile)
    assert books.sums() == (0, 0, 0)


def test_who_comes_back_to_more_room_goes_on() -> None:
    """Absent clients took up what there was for them; those within reach have their own."""
    books = Books()
    books.keep("B", 9_000)
    books.budget.lose(books.clients["A"])
    books.budget.lose(books.clients["B"])
    books.keep("A", 6_000)
    books.keep("A", 4_000)
    assert books.told == ["A stalls"]
    books.budget.regain(books.clients["A"])
    assert books.told == ["A stalls", "A goes on"]


def test_the_oldest_results_of_absent_clients_give_way() -> None:
    """First of the one not heard for longest; their tasks stay known as ended, and the others keep theirs."""
    books = Books()
    a, b, _ = books.clients.values()
    a.heard_at, b.heard_at = 20.0, 10.0
    story = books.keep("B", 4_000, Status.WORKER_LOST)
    first, second, third = books.keep("B", 3_000), books.keep("A", 8_000), books.keep("A", 9_000)
    books.budget.lose(a)
    books.budget.lose(b)
    sizes = [len(held.result.payload) for held in (story, first, second, third) if held.result]
    assert sizes == [4_000, 0, 0, 9_000]
    assert books.sums() == (0, 0, 13_000)


def test_results_that_somebody_asks_for_give_way_last() -> None:
    """Whose client is gone for longest, and attached to just now, keeps them; those of the others go first."""
    books = Books()
    a, b, _ = books.clients.values()
    a.heard_at, b.heard_at = 10.0, 20.0
    a.asked_at = 30.0
    wanted, other = books.keep("A", 12_000), books.keep("B", 12_000)
    for client in (a, b):
        books.budget.lose(client)
    assert [len(held.result.payload) for held in (wanted, other) if held.result] == [12_000, 0]


def test_what_has_given_way_is_not_looked_at_again() -> None:
    """A client may have a million small results besides; another one that ends does not look through them all."""
    books = Books()
    a = books.clients["A"]
    for _ in range(5):
        books.keep("A", 9_000)
    books.budget.lose(a)
    a.unacknowledged = Unread(a.unacknowledged)
    last = books.keep("A", 9_000)
    assert books.sums() == (0, 0, 18_000)
    books.acknowledge(last)
    assert books.sums() == (0, 0, 9_000)


class Unread(dict[bytes, Held]):
    """Not to be walked."""

    def values(self) -> NoReturn:
        """Fail."""
        raise AssertionError("all results of a client were looked at")


def test_what_gives_way_says_how_its_task_has_ended() -> None:
    """Only the value is gone, and with it its serializer; what is over already does not give way again."""
    books = Books()
    a, b, _ = books.clients.values()
    a.heard_at, b.heard_at = 20.0, 10.0
    old, older = books.keep("A", 9_000), books.keep("B", 9_000, Status.FAILURE)
    for client in (a, b):
        books.budget.lose(client)
    books.keep("A", 3_000)
    assert older.result == Result(older.task, 1, Status.FAILURE, "", b"")
    assert old.result is not None
    assert len(old.result.payload) == 9_000
    books.keep("A", 9_000)
    assert old.result == Result(old.task, 1, Status.OK, "", b"")
    assert books.sums() == (0, 0, 12_000)


def test_where_nothing_can_give_way_all_stays() -> None:
    """The story of a death is a few words as a rule; a peer that makes it long harms itself."""
    books = Books()
    books.keep("A", 30_000, Status.WORKER_LOST)
    books.budget.lose(books.clients["A"])
    books.keep("A", 2_000, Status.WORKER_LOST)
    assert books.sums() == (0, 0, 32_000)


@pytest.mark.parametrize("present", [True, False])
def test_a_client_that_is_forgotten_leaves_nothing_behind(present: bool) -> None:
    """Neither in the sums nor among those that are passed over."""
    books = Books()
    a = books.clients["A"]
    books.keep("A", 9_000)
    books.keep("A", 9_000)
    books.keep("A", 0)
    if not present:
        books.budget.lose(a)
    books.budget.close(a)
    assert (books.sums(), books.told) == ((0, 0, 0), ["A stalls", "A goes on"])
    books.budget.lose(books.clients["B"])
    books.keep("B", 30_000)
    assert books.sums() == (0, 0, 0)
