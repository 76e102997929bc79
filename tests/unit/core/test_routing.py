"""Which waiting task goes to which node, and when."""

from __future__ import annotations

from collections import Counter

import pytest
from owner_words import A, B, C, joined, make_task, make_tasks

from meshq.core.accounts import ASKING_BYTES, PARKED_PAUSE_S, Bond, NodeAccount, weight_of
from meshq.core.owned import OwnedTask
from meshq.core.pace import Means
from meshq.core.routing import BLOCKED_S, HOP_S, Router


@pytest.fixture
def means() -> Means:
    """Means of which nothing is known yet."""
    return Means()


@pytest.fixture
def router(means: Means) -> Router:
    """A router without tasks."""
    return Router(means)


def node(name: bytes = A, *, cap: int | None = None, slots: int = 2, functions: tuple[str, ...] = ("f", "g"),
         tags: tuple[str, ...] = (), bond: Bond = Bond.NONE) -> NodeAccount:  # fmt: skip
    """Return an idle node's account."""
    account = NodeAccount(joined(name, slots=slots, functions=functions, tags=tags, bond=bond))
    account.cap = account.cap if cap is None else cap
    return account


def wait(router: Router, *tasks: OwnedTask, now: float = 0.0) -> None:
    """Queue tasks."""
    router.wait_all(tasks, now)


def assign(router: Router, *nodes: NodeAccount, now: float = 0.0) -> list[tuple[bytes, OwnedTask]]:
    """Assign what can go and book it, as the owner does."""
    went = []

    def give(account: NodeAccount, run: list[OwnedTask], _: float) -> None:
        for task in run:
            task.node = account.node
            account.put(task)
            went.append((account.node, task))

    router.assign(nodes, now, give)
    return went


def waiting(router: Router) -> list[OwnedTask]:
    """Return all tasks that wait, in the order of the queues."""
    return [task for queue in router.waiting() for task in queue.tasks]


def test_without_nodes_all_wait(router: Router) -> None:
    """Tasks wait in the order in which they came, each function's apart."""
    f1, f2, g = make_task(1), make_task(2), make_task(1001, "g")
    wait(router, f1, g, f2)
    assert assign(router) == []
    assert waiting(router) == [f1, f2, g]


@pytest.mark.parametrize("names", [(A,), (A, B)])
def test_a_node_gets_no_more_bytes_than_it_takes(router: Router, names: tuple[bytes, ...]) -> None:
    """Large arguments wait for those before them, or go to another node; what is small goes on."""
    large = make_tasks(6)
    for task in large:
        task.payload = bytes(40_000)
    nodes = [node(name, cap=20) for name in names]
    for account in nodes:
        account.cap_bytes = 100_000
    g = make_task(1001, "g")
    wait(router, *large, g)
    went = assign(router, *nodes)
    assert Counter(name for name, _ in went) in (Counter({A: 3}), Counter({A: 3, B: 2}), Counter({A: 2, B: 3}))
    assert g in [task for _, task in went]
    assert assign(router, *nodes) == []
    nodes[0].take(large[0])
    assert [task for _, task in assign(router, *nodes)] == [large[2 * len(names)]]


def test_what_goes_waits_no_more(router: Router) -> None:
    """Tasks go in their order while there is room, and their queue is gone with the last."""
    tasks = make_tasks(4)
    wait(router, *tasks)
    account = node(cap=3)
    assert assign(router, account) == [(A, task) for task in tasks[:3]]
    assert assign(router, account) == []
    account.take(tasks[0])
    assert assign(router, account) == [(A, tasks[3])]
    assert list(router.waiting()) == []


def test_tasks_that_come_back_go_first(router: Router) -> None:
    """What had been sent already goes before the rest, in its order."""
    again, new = make_tasks(3), make_tasks(6)[3:]
    wait(router, *new)
    router.wait_first(again, 0.0)
    assert [task for _, task in assign(router, node(cap=9, slots=3))] == [*again, *new]


def test_withdrawn_tasks_are_passed_over(router: Router) -> None:
    """A task that has ended while it waited goes nowhere, and a queue of only such tasks is dropped."""
    tasks = make_tasks(3)
    wait(router, *tasks)
    tasks[1].node = b""
    assert assign(router, node()) == [(A, tasks[0]), (A, tasks[2])]
    last = make_task(9)
    wait(router, last)
    last.node = b""
    assert assign(router) == []
    assert list(router.waiting()) == []


def test_only_nodes_that_can_run_a_task_get_it(router: Router) -> None:
    """A task goes by function and tags, however idle the other nodes are."""
    plain, gpu = make_task(1, "g"), make_task(2, tags=frozenset({"gpu"}))
    wait(router, plain, gpu)
    nodes = node(A, functions=("f",)), node(B, functions=("g",)), node(C, functions=("f",), tags=("gpu",))
    assert assign(router, *nodes) == [(B, plain), (C, gpu)]


def test_unusable_and_full_nodes_get_nothing(router: Router) -> None:
    """A suspect node is passed over, and one that said it was full for a moment."""
    task = make_task()
    suspect, full = node(A), node(B)
    suspect.suspect = True
    full.full_until = 5.0
    wait(router, task)
    assert assign(router, suspect, full, now=4.9) == []
    assert assign(router, suspect, full, now=5.0) == [(B, task)]


def test_nodes_are_filled_evenly(router: Router) -> None:
    """Each task goes to the node with the fewest unfinished attempts a slot; what it had before counts."""
    tasks = make_tasks(6)
    small, large = node(A, slots=1, cap=9), node(B, slots=4, cap=9)
    large.others = 4
    wait(router, *tasks)
    assert Counter(name for name, _ in assign(router, small, large)) == {A: 2, B: 4}
    assert (small.load(), large.load()) == (2.0, 2.0)


def test_what_one_node_has_no_room_for_goes_to_the_next(router: Router) -> None:
    """A node without credit is passed over, until none has any."""
    tasks = make_tasks(5)
    wait(router, *tasks)
    assert [name for name, _ in assign(router, node(A, cap=0), node(B, cap=3))] == [B] * 3
    assert waiting(router) == tasks[3:]


def test_the_window_bounds_what_goes_ahead(router: Router, means: Means) -> None:
    """Of a slow function each node gets one attempt more than it has slots, whatever its credit."""
    means.observe("f", 10.0)
    means.fold()
    wait(router, *make_tasks(50))
    assert len(assign(router, node(A, cap=100))) == 3
    assert len(assign(router, node(B, cap=100), node(C, cap=100))) == 6


@pytest.mark.parametrize("names", [(A,), (A, B)])
def test_detached_tasks_need_no_credit(router: Router, names: tuple[bytes, ...]) -> None:
    """Detached tasks are shared out at once, also behind others of their function that wait."""
    plain, detached = make_task(), [make_task(100 + index, detached=True) for index in range(20)]
    wait(router, plain, *detached)
    went = assign(router, *(node(name, cap=0) for name in names))
    assert [task for _, task in went] == detached
    assert set(Counter(name for name, _ in went).values()) == {20 // len(names)}
    assert waiting(router) == [plain]


def test_who_got_nothing_is_served_first(router: Router) -> None:
    """Functions that compete for credit take turns, however many rounds bring none."""
    fs, gs = make_tasks(9, "f"), make_tasks(9, "g")
    wait(router, *fs, *gs)
    account = node(cap=2)
    went = assign(router, account)
    for _ in range(6):
        assert assign(router, account) == []
        account.take(went[-2][1])
        went += assign(router, account)
    assert "".join(task.function for _, task in went) == "ffgfgfgf"


def test_a_queue_that_was_emptied_is_as_good_as_new(router: Router) -> None:
    """It is used again for tasks of its kind alone, and what it hoped for earlier does not count."""
    f1, f2, g = make_task(1), make_task(2), make_task(1001, "g")
    wait(router, f1)
    assert assign(router, node(), now=1.0) == [(A, f1)]
    assert router.is_empty
    wait(router, g, f2, now=5.0)
    assert [(queue.function, queue.hoped_at) for queue in router.waiting()] == [("g", 5.0), ("f", 5.0)]
    wait(router, f3 := make_task(3), now=6.0)
    assert waiting(router) == [g, f2, f3]


def test_hope_lasts_while_a_usable_node_offers_the_function(router: Router) -> None:
    """A queue remembers when it was made, and since then when a node could have taken its tasks."""
    wait(router, make_task(), now=1.0)
    [queue] = router.waiting()
    assign(router, node(functions=("g",)), now=2.0)
    assert queue.hoped_at == 1.0
    assign(router, node(cap=0), now=3.0)
    assert queue.hoped_at == 3.0


def test_it_is_known_whether_anything_waits(router: Router) -> None:
    """So that the owner need not look for nodes where there is nothing to send."""
    assert router.is_empty
    wait(router, make_task())
    assert not router.is_empty
    assign(router, node())
    assert router.is_empty


# ---------------------------------------------------------------------- priorities


def prioritised(number: int, priority: int, function: str = "f") -> OwnedTask:
    """Return a task of this priority."""
    task = make_task(number, function)
    task.priority = priority
    return task


def test_the_highest_priority_goes_first(router: Router) -> None:
    """Whatever came first, and of whichever function; within a priority the order stays."""
    low, first, second, high = prioritised(1, 0), prioritised(2, 5), prioritised(3, 5), prioritised(4, 9, "g")
    wait(router, low, first, second, high)
    assert waiting(router) == [high, first, second, low]
    account = node(cap=1)
    went = assign(router, account)
    while not router.is_empty:
        account.take(went[-1][1])
        went += assign(router, account)
    assert [task for _, task in went] == [high, first, second, low]


def test_a_lower_priority_gets_what_a_higher_one_cannot_use(router: Router, means: Means) -> None:
    """Credit beyond the window of the urgent function is not left unused."""
    means.observe("f", 10.0)
    means.fold()
    urgent, others = [prioritised(number, 9) for number in range(5)], make_tasks(9, "g")
    wait(router, *others, *urgent)
    went = [task for _, task in assign(router, node(cap=6))]
    assert went == [*urgent[:3], *others[:3]]


def test_functions_of_one_priority_take_turns(router: Router) -> None:
    """The rule for who competes for credit holds within a priority."""
    fs, gs = [prioritised(n, 7) for n in range(9)], [prioritised(n, 7, "g") for n in range(1000, 1009)]
    wait(router, *fs, *gs, *(prioritised(n, 1) for n in range(50, 60)))
    account = node(cap=2)
    went = assign(router, account)
    for _ in range(6):
        account.take(went[-2][1])
        went += assign(router, account)
    assert "".join(task.function for _, task in went) == "ffgfgfgf"


# ---------------------------------------------------------------------- delayed


def delayed(*numbers: int, due_at: float = 10.0, function: str = "f") -> list[OwnedTask]:
    """Return tasks that may not start before then."""
    tasks = [make_task(number, function) for number in numbers]
    for task in tasks:
        task.due_at = due_at
    return tasks


def test_delayed_tasks_go_beyond_credit_and_are_spread(router: Router) -> None:
    """They are on their way to be parked, evenly, and past what waits for credit."""
    tasks = delayed(*range(100, 112))
    wait(router, make_task(), *tasks)
    nodes = node(A, cap=0), node(B, cap=0), node(C, cap=0, functions=())
    went = assign(router, *nodes)
    assert [task for _, task in went] == tasks
    assert Counter(name for name, _ in went) == {A: 6, B: 6}
    assert all(task.parked for task in tasks)
    assert [account.used for account in nodes] == [0, 0, 0]


def test_as_many_delayed_tasks_go_out_as_are_answered(router: Router) -> None:
    """A node that has no room for them is not sent all of them in vain."""
    tasks = delayed(*range(1, 1200))
    wait(router, *tasks)
    account = node(A)
    some = len(assign(router, account))
    assert some == ASKING_BYTES // weight_of(tasks[0])
    assert assign(router, account) == []
    for task in tasks[:3]:
        account.accept(task)
        account.park(task)
    assert len(assign(router, account)) == 3
    assert Counter(name for name, _ in assign(router, account, node(B))) == {B: some}


@pytest.mark.parametrize("nodes", [1, 2])
def test_as_many_detached_tasks_go_out_as_are_answered(router: Router, nodes: int) -> None:
    """A node that takes no more of them is not sent all of them again and again."""
    tasks = [make_task(number, detached=True) for number in range(1, 1200)]
    wait(router, *tasks)
    accounts = [node(name) for name in (A, B)[:nodes]]
    some = ASKING_BYTES // weight_of(tasks[0])
    assert len(assign(router, *accounts)) == nodes * some
    accounts[0].refuse(tasks[0], 1.0)
    for task in list(accounts[0].in_flight.values()):
        accounts[0].take(task)
    assert assign(router, *accounts, now=1.0) == []
    assert len(assign(router, *accounts, now=1.2)) == 1


def test_a_node_that_may_park_no_more_gets_no_delayed_tasks(router: Router) -> None:
    """For a second; what may start at once still goes there."""
    [task], plain = delayed(1, due_at=5.0), make_task(2)
    account = node()
    account.pause(task, 1.0)
    wait(router, task, plain, now=1.0)
    assert assign(router, account, now=1.0) == [(A, plain)]
    assert assign(router, account, now=1.0 + PARKED_PAUSE_S) == [(A, task)]


def test_a_function_that_a_node_limits_is_kept_from_it(router: Router) -> None:
    """The others still go there, and the function elsewhere."""
    f1, f2, g = make_task(1), make_task(2), make_task(1001, "g")
    account = node(A)
    account.pause(f1, 1.0)
    wait(router, f1, g)
    assert assign(router, account, now=1.0) == [(A, g)]
    assert assign(router, account, node(B), now=1.0) == [(B, f1)]
    wait(router, f2)
    assert assign(router, account, now=1.0 + PARKED_PAUSE_S) == [(A, f2)]


def test_a_task_whose_time_has_come_waits_for_credit(router: Router) -> None:
    """It may start, so it is no longer to be parked, whether it was the first to wait or not."""
    early, late, last = delayed(1, due_at=5.0) + delayed(2, due_at=9.0) + delayed(3, due_at=5.0)
    wait(router, late, early, last)
    assert waiting(router) == [late, early, last]
    account = node(cap=1)
    assert assign(router, account, now=6.0) == [(A, late), (A, early)]
    assert (late.parked, early.parked) == (True, False)
    assert waiting(router) == [last]
    account.take(early)
    wait(router, *delayed(4, due_at=7.0), now=6.0)
    assert [task.id[-1] for task in waiting(router)] == [3, 4]
    assert assign(router, now=8.0) == []
    assert [task.id[-1] for task in waiting(router)] == [3, 4]
    assert not any(task.parked for _, task in assign(router, node(B), now=8.0))


def test_a_detached_task_is_not_sent_to_be_parked(router: Router) -> None:
    """The node that it is entrusted to sees to its time."""
    task = make_task(detached=True)
    task.due_at = 10.0
    wait(router, task)
    assert assign(router, node(cap=0)) == [(A, task)]
    assert not task.parked
    assert router.is_empty


def test_a_delayed_task_that_comes_back_goes_first(router: Router) -> None:
    """Before the others that are delayed."""
    tasks = delayed(1, 2, 3)
    wait(router, *tasks[1:])
    router.wait_first(tasks[:1], 0.0)
    assert [task for _, task in assign(router, node())] == tasks


def test_delayed_tasks_that_have_ended_are_dropped(router: Router) -> None:
    """A queue of only such tasks is gone."""
    tasks = delayed(1, 2)
    wait(router, *tasks)
    for task in tasks:
        task.node = b""
    assert not router.is_empty
    assert assign(router) == []
    assert router.is_empty


def test_queues_are_named_by_priority(router: Router) -> None:
    """The highest first; what may not start yet is not among them."""
    low, high = make_task(1), make_task(2)
    low.priority, high.priority = 1, 9
    wait(router, low, high, *delayed(3))
    assert [queue.priority for queue in router.by_priority()] == [9, 1]


def test_tasks_can_be_taken_out_where_they_wait(router: Router) -> None:
    """Also those that may not start yet; the others keep their places, and what was sent is not there any more."""
    first, second, delayed = make_task(1), make_task(2), make_task(3)
    delayed.due_at = 10.0
    gone = make_task(4)
    wait(router, first, gone, second, delayed)
    assert router.take_out({first.id}) == [first]
    router.wait_first([first], 0.0)
    gone.node = A
    assert router.take_out({first.id, delayed.id, gone.id, b"unknown"}) == [first, delayed]
    assert waiting(router) == [second]
    assert assign(router, node()) == [(A, second)]
    assert router.is_empty


def test_a_nodes_own_owner_fills_its_slots_first(router: Router) -> None:
    """Whichever node it came to know first; then the others', in turn with what waits at its own."""
    peer, home = node(B, bond=Bond.PEER), node(A, bond=Bond.HOME)
    wait(router, *make_tasks(8))
    assert [name for name, _ in assign(router, peer, home)] == [A, A, B, B, A, B, A, B]


def test_what_is_done_sooner_than_sent_stays(router: Router, means: Means) -> None:
    """As long as the node gets on with its work; a plain client spreads it as ever."""
    for _ in range(10):
        means.observe("f", HOP_S / 2)
    means.fold()
    peer, home, other = node(B, bond=Bond.PEER), node(A, bond=Bond.HOME), node(C)
    for account in (peer, home, other):
        account.cap = 100
    home.ended_at = 5.0
    wait(router, *make_tasks(6))
    assert {name for name, _ in assign(router, peer, home, now=5.0)} == {A}
    wait(router, *(make_task(number) for number in range(10, 16)))
    assert {name for name, _ in assign(router, peer, home, now=5.0 + BLOCKED_S)} == {B}
    wait(router, *(make_task(number) for number in range(20, 26)))
    assert len({name for name, _ in assign(router, node(A), other)}) == 2


def test_what_waits_for_its_time_waits_at_home(router: Router) -> None:
    """Unless there is no room for it there."""
    peer, home = node(B, bond=Bond.PEER), node(A, bond=Bond.HOME)
    for number, place in ((1, A), (2, A), (3, B)):
        task = make_task(number)
        task.due_at = 60.0
        wait(router, task)
        if place == B:
            home.pause(task, 0.0)
        assert assign(router, peer, home) == [(place, task)]
        task.accepted = True
