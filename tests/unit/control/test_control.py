"""``Control``: what is checked before anything is done, what is sent, and long lists of ids."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
import work_functions
from control_harness import Answer, Port

from meshq.control.checks import MAX_IDS
from meshq.control.control import PURGE_TIMEOUT_S, Control
from meshq.errors import ConfigError, EncodingError
from meshq.protocol.messages import Command

UID = uuid.UUID(int=7)


def revoking(answer: Callable[[list[bytes]], Answer]) -> Port:
    """Return a mesh whose nodes answer revokes as told."""
    return Port(lambda command: answer(msgpack.unpackb(command.arguments)["tasks"]))


def all_dropped(tasks: list[bytes]) -> dict[str, Any]:
    """Return a node's reply."""
    return {"ok": {task.hex(): "dropped" for task in tasks}}


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0}, {"timeout": "soon"}, {"limit": 0}, {"destination": "node"}, {"signal": "NO"},
        {"task_id": "no id"}, {"task_id": 7}, {"terminate": "yes"}, {"pattern": 7}, {"callback": "no"},
        {"connection": "no mesh"},
    ],
)  # fmt: skip
def test_nothing_is_revoked_where_an_argument_is_wrong(wrong: dict[str, Any]) -> None:
    """The tasks of this client live on, as no node has heard of it."""
    port = Port()
    with pytest.raises(ConfigError):
        Control(port).revoke(**{"task_id": [UID], **wrong})
    assert (port.owned, port.commands) == ([], [])


@pytest.mark.parametrize(
    ("give", "text"),
    [
        (lambda control: control.rate_limit("work.add", "5/x"), "'5/x' is not a rate"),
        (lambda control: control.rate_limit("work.add", -1), "-1 is not a rate"),
        (lambda control: control.rate_limit("work.add", None), "None is not a rate"),
        (lambda control: control.rate_limit("no such!", 1), "'no such!' is not the name of a task"),
        (lambda control: control.time_limit("work.add", soft=3, hard=2), r"soft \(3 s\).*hard \(2 s\)"),
        (lambda control: control.time_limit("work.add", soft=0), "0 is not a time limit"),
        (lambda control: control.time_limit("work.add", hard=-1), "-1 is not a time limit"),
        (lambda control: control.time_limit("work.add", hard=float("nan")), "nan is not a time limit"),
        (lambda control: control.time_limit("work.add", hard=True), "True is not a time limit"),
        (lambda control: control.pool_resize(0), "1 to 1024"),
        (lambda control: control.pool_resize(1025), "1 to 1024"),
        (lambda control: control.pool_resize(2.0), "1 to 1024"),
        (lambda control: control.terminate(UID, "NOSUCH"), "'NOSUCH'.*TERM"),
        (lambda control: control.terminate("no id"), "no id"),
        (lambda control: control.purge(destination="east"), r"\['east'\]"),
        (lambda control: control.inspect("east"), r"\['east'\]"),
        (lambda control: control.drain(destination=["a", ""]), "destination has an empty name: give NAME"),
        (lambda control: control.drain(destination=5), r"list of NAME, .*got 5\)"),
        (lambda control: control.drain(destination=[5]), r"list of NAME, .*got \[5\]\)"),
        (lambda control: control.inspect(timeout=-1), "timeout"),
        (lambda control: control.inspect().query_task("no id"), "no id"),
        (lambda control: control.inspect().query_task([UID] * 501), "500"),
        (lambda control: control.drain(limit=True), "limit"),
        (lambda control: control.shutdown(timeout=float("inf")), "timeout"),
        (lambda control: control.broadcast("no name"), "a control command is a name"),
        (lambda control: control.broadcast("mine", ["x"]), "a dict of names"),
        (lambda control: control.broadcast("mine", {1: "x"}), "by name"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_before_anything_is_sent(give: Callable[[Control], Any], text: str) -> None:
    """The error says what to give instead."""
    port = Port()
    with pytest.raises(ConfigError, match=text):
        give(Control(port))
    assert (port.commands, port.purged) == ([], [])


def test_arguments_that_cannot_travel_are_refused() -> None:
    """Commands take plain data."""
    with pytest.raises(EncodingError, match="plain data"):
        Control(Port()).broadcast("mine", {"x": object()})


def test_an_unknown_keyword_is_a_type_error() -> None:
    """As with any function."""
    with pytest.raises(TypeError, match="replly"):
        Control(Port()).shutdown(replly=True)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("give", "sent"),
    [
        (
            lambda control: control.rate_limit("work:add", "2/s"),
            ("rate_limit", {"task_name": "work.add", "rate": "2/s"}),
        ),
        (
            lambda control: control.rate_limit(work_functions.double, 3),
            ("rate_limit", {"task_name": "work_functions.double", "rate": 3}),
        ),
        (
            lambda control: control.time_limit(work_functions.plain, hard=3),
            ("time_limit", {"task_name": "work_functions.plain", "soft": None, "hard": 3}),
        ),
        (lambda control: control.pool_resize(3), ("pool_resize", {"n": 3})),
        (lambda control: control.drain(), ("drain", {})),
        (lambda control: control.shutdown(), ("shutdown", {})),
        (lambda control: control.ping(), ("ping", {})),
        (
            lambda control: control.terminate(str(UID), "sigkill"),
            ("revoke", {"tasks": [UID.bytes], "terminate": True, "signal": "KILL"}),
        ),
        (lambda control: control.broadcast("mine", {"x": [1]}), ("mine", {"x": [1]})),
    ],
)  # fmt: skip
def test_a_command_travels_by_its_name_with_its_arguments(
    give: Callable[[Control], Any], sent: tuple[str, dict[str, Any]]
) -> None:
    """Functions go by the name under which nodes know them."""
    port = Port()
    give(Control(port))
    assert port.given == [sent]


def test_a_destination_may_be_anything_that_yields_names() -> None:
    """An iterator can be read once only, and what is left of it would mean all nodes."""
    port = Port()
    Control(port).shutdown(destination=(name for name in ("east", "west")))  # type: ignore[arg-type]
    assert port.commands[0].destination == ["east", "west"]


def test_whom_a_command_is_for_travels_with_it() -> None:
    """And whether somebody waits for the replies."""
    port = Port()
    asked: dict[str, Any] = {"destination": ("east",), "pattern": "e*", "timeout": 2, "reply": True}
    assert Control(port).drain(**asked) == []
    (command,) = port.commands
    assert command[4:] == (["east"], "e*", True, 2.0)
    assert Control(port).drain() is None


def test_a_ping_waits_for_the_replies_unless_told_not_to() -> None:
    """``reply`` is a keyword of it as of the others, only that it is true by default."""
    port = Port()
    assert Control(port).ping() == Control(port).ping(reply=True) == []
    assert Control(port).ping(reply=False) is None
    assert [command.reply for command in port.commands] == [True, True, False]


def test_a_command_can_go_through_another_mesh() -> None:
    """``connection`` is what has its own ``control``; the other port hears nothing."""

    class Connection:
        def __init__(self, port: Port) -> None:
            self.control = Control(port)

    here, there = Port(own=5), Port(own=7)
    control, connection = Control(here), Connection(there)
    control.rate_limit("work.add", 1, connection=connection)
    control.revoke(UID, connection=connection)
    control.ping(connection=connection)
    control.inspect(connection=connection).active()
    assert control.purge(connection=connection) == 7
    assert [name for name, _ in there.given] == ["rate_limit", "revoke", "ping", "active", "purge"]
    assert there.owned == [UID.bytes]
    assert (here.commands, here.owned, here.purged) == ([], [], [])


def test_an_error_in_the_callback_is_raised_once_all_replies_are_there() -> None:
    """It is not called again after that."""
    seen: list[Any] = []

    def fail(reply: Any) -> None:
        seen.append(reply)
        raise LookupError("in the callback")

    port = Port(lambda _: ({"a@h": {"ok": 1}, "b@h": {"ok": 2}}, {}))
    with pytest.raises(LookupError, match="in the callback"):
        Control(port).ping(callback=fail)
    assert seen == [{"a@h": {"ok": 1}}]


# ------------------------------------------------------------------ revoke


def test_long_lists_are_cut_and_the_replies_merged() -> None:
    """Each node's replies to all commands are one reply, and the callback gets it once."""
    ids = [uuid.UUID(int=number) for number in range(MAX_IDS * 2 + 1)]
    port = revoking(lambda tasks: ({"a@h": all_dropped(tasks), "b@h": all_dropped(tasks)}, {"c@h": "unreachable"}))
    seen: list[Any] = []
    replies = Control(port).revoke(ids, reply=True, callback=seen.append)
    assert replies is not None
    sizes = [len(arguments["tasks"]) for _, arguments in port.given]
    assert sizes == [MAX_IDS, MAX_IDS, 1]
    assert len(port.owned) == len(ids)
    assert seen == replies
    assert [list(reply) for reply in replies] == [["a@h"], ["b@h"]]
    assert all(len(value["ok"]) == len(ids) and "error" not in value for value in replies.by_node().values())
    assert replies.missing == {"c@h": "unreachable"}


def test_a_node_that_answers_only_some_of_the_commands_says_so() -> None:
    """It does not look as if all ids were revoked there."""

    def answer(tasks: list[bytes]) -> Answer:
        if len(tasks) > 1:
            return {"a@h": all_dropped(tasks), "b@h": {"error": "no"}}, {}
        return {"b@h": all_dropped(tasks)}, {"a@h": "no reply in time"}

    replies = Control(revoking(answer)).revoke([uuid.uuid4() for _ in range(MAX_IDS + 1)], reply=True)
    assert replies is not None
    values = replies.by_node()
    assert len(values["a@h"]["ok"]) == MAX_IDS
    assert "no reply in time" in values["a@h"]["error"]
    assert (len(values["b@h"]["ok"]), values["b@h"]["error"]) == (1, "no")
    assert replies.missing == {}


def test_no_ids_at_all_are_one_command() -> None:
    """The nodes still answer."""
    port = revoking(lambda tasks: ({"a@h": all_dropped(tasks)}, {}))
    assert Control(port).revoke([], reply=True) == [{"a@h": {"ok": {}}}]
    assert Control(port).revoke([]) is None


# ------------------------------------------------------------------ purge


def counted(own: int, **clients: int) -> Callable[[Command], Answer]:
    """Return the answer of a node that counts so many, and of its clients."""
    return lambda _: ({"a@h": {"ok": own, "clients": clients, "silent": []}}, {})


def test_a_purge_adds_up_nodes_clients_and_this_client() -> None:
    """It always waits for the replies, and longer than other commands."""
    port = Port(counted(3, other=4), own=5)
    purged = Control(port).purge(reply=False)
    assert purged == 12
    assert purged.missing == {}
    (command,) = port.commands
    assert (command.reply, command.seconds) == (True, PURGE_TIMEOUT_S)
    assert port.purged == [command.command]
    assert Control(port).discard_all(timeout=1) == 12
    assert port.commands[1].seconds == 1.0


def test_a_purge_without_any_node_discards_this_clients_own() -> None:
    """What waits for a first node is waiting too."""
    assert Control(Port(own=5)).purge(timeout=0.1) == 5


def test_a_client_that_cannot_answer_itself_in_time_is_missing() -> None:
    """Its number is not taken for 0."""
    purged = Control(Port(counted(3), own=None)).purge(timeout=0.05)
    assert purged == 3
    assert purged.missing == {"this client": "no reply in time"}


def test_a_purge_of_some_nodes_leaves_this_client_to_them() -> None:
    """Its tasks are counted as those of any client that these nodes have."""
    port = Port(lambda _: ({"a@h": {"ok": 1, "clients": {Port.client_id.hex(): 5}, "silent": []}}, {}), own=5)
    assert Control(port).purge(destination=["a"]) == 6
    assert Control(port).purge(pattern="a*") == 6
    assert port.purged == []
