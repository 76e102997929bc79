"""``meshq ctl`` against two nodes that it finds by itself: what each command prints, its JSON, its exit code."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cli_harness import WAIT_S, Done, Shell, until

NO_ID = "00000000-0000-0000-0000-000000000001"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell on a host where nodes ``left`` and ``right`` run."""
    opened = Shell(tmp_path_factory.mktemp("ctl"))
    try:
        opened.nodes(
            ["photos", "--name", "left", "--slots", 1, "--tag", "gpu"], ["photos", "--name", "right", "--slots", 2]
        )
        yield opened
    finally:
        opened.close()


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Shell]:
    """A shell of a test's own, in whose mesh there is no node yet."""
    opened = Shell(tmp_path)
    yield opened
    opened.close()


def replies(shell: Shell, *arguments: object) -> dict[str, Any]:
    """Run a command with ``--json``; return its replies by the nodes' names."""
    return told(shell.run("ctl", *arguments, "--json"))


def told(done: Done) -> dict[str, Any]:
    """Return the replies of a command with ``--json``, of which none is missing, by the nodes' names."""
    assert done.code == 0
    value = done.json()
    assert value["missing"] == {}
    return {name.partition("@")[0]: reply for name, reply in value["replies"].items()}


def rows(shell: Shell, what: str, task_id: str) -> list[dict[str, Any]]:
    """Return what ``meshq ctl inspect`` lists of one task."""
    return rows_of(replies(shell, "inspect", what), task_id)


def rows_of(found: dict[str, Any], task_id: str) -> list[dict[str, Any]]:
    """Return what has been listed of one task."""
    return [row for tasks in found.values() for row in tasks if row.get("id") == task_id]


def detach(shell: Shell, *arguments: object) -> str:
    """Submit a task; return its id."""
    done = shell.run("call", *arguments, "--detach")
    assert done.code == 0
    return done.out.strip()


def end(shell: Shell, *ids: str) -> None:
    """End tasks, that the next test finds the nodes idle."""
    assert shell.run("ctl", "terminate", *ids, "--signal", "KILL").code == 0


# ---------------------------------------------------------------------- whom, and how it ends


PING = ["ctl", "ping"]
CHOICES = [["--destination", "left"], ["--pattern", "l*"]]
SOME = ["ping", "inspect stats"]


@pytest.fixture(scope="module")
def asked(shell: Shell) -> Shell:
    """The shell in which nodes have been asked in several ways at the same time."""
    some = (["ctl", *words.split(), *choice, "--json"] for words in SOME for choice in CHOICES)
    return shell.ahead(PING, [*PING, "--json"], [*PING, "--limit", 1, "--json"], *some)


def test_ping_asks_all_nodes(asked: Shell) -> None:
    """Every node replies, in one line each."""
    done = asked.run(*PING)
    assert (done.code, done.err) == (0, "")
    header, left, right = (line.split() for line in done.out.splitlines())
    assert header == ["NODE", "REPLY"]
    assert (left[0].partition("@")[0], left[1]) == ("left", "pong")
    assert (right[0].partition("@")[0], right[1]) == ("right", "pong")


def test_ping_as_json(asked: Shell) -> None:
    """The replies by node, and nobody missing."""
    found = replies(asked, "ping")
    assert {name: (reply["ok"], reply["slots"]) for name, reply in found.items()} == {
        "left": ("pong", 1),
        "right": ("pong", 2),
    }


def test_ping_in_a_cold_shell_is_quick(shell: Shell) -> None:
    """Start of Python, discovery, command and all replies take 1 s; on a busy machine, one time of five."""
    for _ in range(5):
        began = time.monotonic()
        assert len(replies(shell, "ping")) == 2
        if time.monotonic() - began < 1.5:
            return
    pytest.fail("it took longer than 1.5 s each time")


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("words", SOME)
def test_a_command_to_some_nodes(asked: Shell, words: str, choice: list[str]) -> None:
    """By name or by glob, only those meant reply, and the others are not missed."""
    assert list(replies(asked, *words.split(), *choice)) == ["left"]


def test_a_limit_that_is_reached_is_no_failure(asked: Shell) -> None:
    """Whoever asks for one reply gets one, and exit code 0."""
    done = asked.run(*PING, "--limit", 1, "--json")
    assert done.code == 0
    assert len(done.json()["replies"]) == 1


def test_a_node_that_is_named_and_not_there_is_missing(shell: Shell) -> None:
    """The reply of the other is printed, the missing one named with the reason; exit code 5."""
    both = ["--destination", "left", "--destination", "middle"]
    for done in shell.run_all(["ctl", "ping", *both], ["ctl", "inspect", "active", *both]):
        assert done.code == 5
        assert "left@" in done.out
        assert done.err == "meshq: middle is missing: no node of that name was found\n"


def test_nobody_meant_is_exit_code_3(shell: Shell) -> None:
    """Where no node matches, those that are there are named."""
    commands = ("ping", "inspect stats", "purge", "broadcast ping")
    for done in shell.run_all(*(["ctl", *words.split(), "--destination", "middle"] for words in commands)):
        assert (done.code, done.out) == (3, "")
        assert "no node matches middle; seen: left@" in done.err


def test_a_frozen_node_is_named(lonely: Shell) -> None:
    """The others reply; the frozen one, of which they know, is missing with the reason: exit code 5."""
    _, frozen = lonely.nodes(*(["photos", "--name", name, "--slots", 1] for name in ("well", "frozen")))
    until(lambda: replies(lonely, "inspect", "stats")["well"]["peers"])
    frozen.signal(signal.SIGSTOP)
    try:
        done, listed, table = lonely.run_all(["ctl", "ping"], ["nodes", "--json"], ["nodes"])
        assert done.code == 5
        assert [line.split("@")[0] for line in done.out.splitlines()[1:]] == ["well"]
        assert done.err.startswith("meshq: frozen@")
        assert " is missing: " in done.err
        assert listed.code == 0
        states = {node["name"].partition("@")[0]: node["state"] for node in listed.json()["nodes"]}
        assert states == {"well": "alive", "frozen": "unreachable"}
        gone = table.out.splitlines()[1].split()
        assert (gone[0].partition("@")[0], *gone[2:]) == ("frozen", "unreachable", "-", "-", "-", "-")
    finally:
        frozen.signal(signal.SIGCONT)


WRONG = [
    (["revoke", "no-id"], "'no-id' is not a task id"),
    (["revoke", NO_ID, "--signal", "HELLO"], "is not the name of a signal"),
    (["terminate", NO_ID, "--signal", "9"], "is not the name of a signal"),
    (["broadcast", "ping", "5"], "written K=V (got '5')"),
    (["broadcast", "no name"], "a control command is a name"),
    (["rate-limit", "photos.add", "5/x"], "'5/x' is not a rate"),
    (["rate-limit", "photos.add", "--", "-1"], "'-1' is not a rate"),
    (["rate-limit", "a b", "1"], "'a b' is not the name of a task"),
    (["time-limit", "photos.add", "--soft", "3", "--hard", "2"], "must not be above"),
    (["time-limit", "photos.add", "--hard", "0"], "--hard"),
    (["pool-resize", "0"], "0 is not in the range"),
    (["pool-resize", "many"], "'many' is not a valid integer"),
    (["inspect", "query-task"], "Missing argument"),
    (["inspect", "query-task", "no-id"], "'no-id' is not a task id"),
    (["ping", "--timeout", "0"], "--timeout"),
    (["ping", "--timeout", "nan"], "'nan' is not a number of seconds"),
    (["ping", "--limit", "0"], "--limit"),
    (["ping", "--destination", ""], "destination has an empty name"),
    (["broadcast", "cache", f"clear={10**30}"], "must be plain data"),
    (["pong"], "there is no command 'pong'; did you mean ping?"),
    (["inspect", "activ"], "No such command 'activ'"),
]


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell in which everything that is wrong has been given, at the same time."""
    return Shell(tmp_path_factory.mktemp("wrong")).ahead(*(["ctl", *arguments] for arguments, _ in WRONG))


@pytest.mark.parametrize(
    ("arguments", "complaint"), WRONG, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_wrong_usage(refusing: Shell, arguments: list[str], complaint: str) -> None:
    """Exit code 2, and what is wrong, without a traceback, and before nodes are looked for."""
    done = refusing.run("ctl", *arguments)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert "Traceback" not in done.err


def test_wrong_usage_as_json(lonely: Shell) -> None:
    """What click and what meshq find wrong are both the one JSON value, with the kind of error."""
    for arguments, kind in ((["ping", "--timeout", "x"], "UsageError"), (["revoke", "no-id"], "ConfigError")):
        done = lonely.run("ctl", *arguments, "--json")
        assert (done.code, done.err) == (2, "")
        assert arguments[-1] in done.json()["error"]
        assert done.json()["type"] == kind


def test_without_nodes(lonely: Shell) -> None:
    """Each command says so, with exit code 3."""
    commands = ("ping", "inspect active", "purge", "drain")
    for done in lonely.run_all(*(["ctl", *words.split()] for words in commands)):
        assert (done.code, done.out) == (3, "")
        assert done.err.startswith("meshq: no node of the mesh")


# ---------------------------------------------------------------------- tasks


def test_revoke_says_what_became_of_each(shell: Shell) -> None:
    """Each node replies for each id, in a line each."""
    as_json, done = shell.run_all(["ctl", "revoke", NO_ID, "--json"], ["ctl", "revoke", NO_ID])
    found = told(as_json)
    assert found == {node: {"ok": {NO_ID: "unknown, will be refused"}} for node in ("left", "right")}
    assert done.out.splitlines()[0].split() == ["NODE", "ID", "OUTCOME"]
    assert done.out.count(f"{NO_ID}  unknown, will be refused") == 2


@pytest.mark.parametrize("words", [["revoke", "--terminate"], ["terminate"]], ids=lambda words: words[0])
def test_a_running_task_is_ended(shell: Shell, words: list[str]) -> None:
    """The task's worker is ended by the signal, and the node says so."""
    marker = shell.directory / f"to-be-ended-by-{words[0]}"
    task_id = detach(shell, "photos.slow", marker, 600)
    until(marker.exists)
    done = shell.run("ctl", *words, task_id, "--signal", "KILL", "--json")
    assert done.code == 0
    assert "terminated" in [reply["ok"][task_id] for reply in done.json()["replies"].values()]


def test_a_task_that_does_not_mind_the_signal(shell: Shell) -> None:
    """It is named as running on, and so is what became of the other ids; it can still be ended."""
    marker = shell.directory / "unimpressed"
    stubborn = detach(shell, "photos.slow", marker, 600, "--tag", "gpu")
    until(marker.exists)
    found = replies(shell, "terminate", stubborn, NO_ID, "--signal", "CHLD")["left"]
    assert found["ok"] == {stubborn: "signalled, still runs", NO_ID: "unknown, will be refused"}
    assert replies(shell, "terminate", stubborn)["left"]["ok"] == {stubborn: "terminated"}


def test_what_runs_and_what_waits(shell: Shell) -> None:
    """Active, reserved, scheduled and query-task show a task where it is, with its call, as table and as JSON."""
    markers = [shell.directory / f"runs-{number}" for number in range(2)]
    running = detach(shell, "photos.slow", markers[0], 600, "--tag", "gpu")
    until(markers[0].exists)
    submitted = shell.run_all(
        ["call", "photos.slow", markers[1], "600", "--tag", "gpu", "--priority", 7, "--detach"],
        ["call", "photos.add", '"x"', "--kwargs", '{"y": "z"}', "--countdown", 3600, "--detach"],
    )
    assert [done.code for done in submitted] == [0, 0]
    waiting, later = (done.out.strip() for done in submitted)
    try:
        until(lambda: rows(shell, "reserved", waiting))
        lists = [["ctl", "inspect", what] for what in ("active", "reserved", "scheduled")]
        query = ["ctl", "inspect", "query-task", running]
        *as_json, found = shell.run_all(
            *([*line, "--json"] for line in lists), [*query, waiting, later, NO_ID, "--json"]
        )
        active, reserved, scheduled, queried = (done.out for done in shell.run_all(*lists, query))
        (row,) = rows_of(told(as_json[0]), running)
        assert row["name"] == "photos.slow"
        assert row["args"] == [repr(str(markers[0])), "600"]
        assert row["pid"] == int(markers[0].read_text())
        assert row["started_s"] > 0
        assert rows_of(told(as_json[1]), waiting)[0]["priority"] == 7
        (row,) = rows_of(told(as_json[2]), later)
        assert row["reason"] == "countdown"
        assert 3500 < row["eta_s"] <= 3600
        where = {task: known[0] for tasks in told(found).values() for task, known in tasks.items()}
        assert where == {running: "active", waiting: "reserved", later: "scheduled"}
        assert active.splitlines()[0].split() == ["NODE", "ID", "TASK", "ARGS", "ATTEMPT", "SINCE", "PID"]
        assert f"{running}  photos.slow  '{markers[0]}', 600  " in active
        assert [line.split()[1] for line in active.splitlines()[1:]] == [running, "-"]
        assert f"{waiting}  photos.slow  '{markers[1]}', 600" in reserved
        assert f"{later}  photos.add  'x', y='z'  " in scheduled
        assert f"{running}  active  photos.slow  " in queried
    finally:
        end(shell, running, waiting, later)


def test_rate_limit(shell: Shell) -> None:
    """It is set, shown by registered, and lifted; a function that nobody offers is an error of each node."""
    found = replies(shell, "rate-limit", "photos:add", "100/m")
    assert {reply["ok"] for reply in found.values()} == {"rate limit of photos.add is 100/m here"}
    registered = ["ctl", "inspect", "registered"]
    as_json, table = shell.run_all([*registered, "--json"], registered)
    assert "photos.add [rate_limit=100/m]" in told(as_json)["left"]
    assert "photos.add [rate_limit=100/m]\n" in table.out
    found = replies(shell, "rate-limit", "photos.add", 0)
    assert {reply["ok"] for reply in found.values()} == {"rate limit of photos.add is lifted here"}
    as_json, done = shell.run_all([*registered, "--json"], ["ctl", "rate-limit", "photos.paint", 5])
    assert "photos.add" in told(as_json)["left"]
    assert done.code == 1
    assert done.out.count("offers no function 'photos.paint'; it offers photos.add") == 2


def test_time_limit(shell: Shell) -> None:
    """A limit that was set ends the next task, and no task once it is lifted."""
    found = replies(shell, "time-limit", "photos.slow", "--hard", 0.3)
    assert {reply["ok"] for reply in found.values()} == {"time limits of photos.slow are hard 0.3 s here"}
    try:
        done = shell.run("call", "photos.slow", shell.directory / "limited", 600)
        assert done.code == 1
        assert "ran past its time limit" in done.err
    finally:
        found = replies(shell, "time-limit", "photos.slow")
    assert {reply["ok"] for reply in found.values()} == {"time limits of photos.slow are lifted here"}
    assert shell.run("call", "photos.slow", shell.directory / "unlimited", 0.5).code == 0


def test_purge(shell: Shell) -> None:
    """What waits is discarded and counted, what runs goes on."""
    marker = shell.directory / "not-purged"
    submitted = shell.run_all(
        ["call", "photos.slow", marker, 600, "--tag", "gpu", "--detach"],
        ["call", "photos.add", 1, 2, "--countdown", 3600, "--detach"],
    )
    running, later = (done.out.strip() for done in submitted)
    until(marker.exists)
    try:
        done = shell.run("ctl", "purge", "--json")
        assert done.code == 0
        assert done.json()["discarded"] == 1
        assert done.json()["missing"] == {}
        assert len(done.json()["replies"]) == 2
        scheduled, active, again = shell.run_all(
            ["ctl", "inspect", "scheduled", "--json"], ["ctl", "inspect", "active", "--json"], ["ctl", "purge"]
        )
        assert rows_of(told(scheduled), later) == []
        assert len(rows_of(told(active), running)) == 1
        assert again.out == "0 waiting tasks were discarded\n"
    finally:
        end(shell, running)


@pytest.mark.parametrize(("typed", "code", "left"), [("n\n", 1, 1), ("y\n", 0, 0)])
def test_purge_asks_first_on_a_terminal(shell: Shell, typed: str, code: int, left: int) -> None:
    """It goes on only after a yes."""
    later = detach(shell, "photos.add", 1, 2, "--countdown", 3600)
    output, exited = on_a_terminal(shell, ["ctl", "purge"], typed)
    assert "Discard all waiting tasks? [y/N]" in output
    assert exited == code
    assert len(rows(shell, "scheduled", later)) == left
    end(shell, later)


def test_purge_does_not_ask_a_program(lonely: Shell) -> None:
    """With ``--json`` nothing is printed but JSON, so it wants ``--yes``, even before nodes are looked for."""
    output, exited = on_a_terminal(lonely, ["ctl", "purge", "--json"])
    assert exited == 2
    assert "give --yes" in json.loads(output)["error"]


# ---------------------------------------------------------------------- nodes


def test_registered_stats_revoked_conf_and_report(shell: Shell) -> None:
    """Each node tells its functions, its numbers, what it refuses, its settings, and all of it as a text."""
    assert shell.run("ctl", "revoke", NO_ID).code == 0
    inspect = ["ctl", "inspect"]
    kinds = ("registered", "stats", "revoked", "conf", "report", "ping")
    registered, stats, revoked, conf, report, ping = map(
        told, shell.run_all(*([*inspect, kind, "--json"] for kind in kinds))
    )
    stats_table, revoked_table, conf_table, report_shown = (
        done.out
        for done in shell.run_all(
            *([*inspect, kind] for kind in ("stats", "revoked", "conf")),
            [*inspect, "report", "--destination", "left"],
        )
    )
    assert "photos.add" in registered["right"]
    assert stats["left"]["pid"] != stats["right"]["pid"]
    assert ["pid", str(stats["left"]["pid"])] in [line.split()[1:] for line in stats_table.splitlines()]
    assert NO_ID in revoked["left"]
    assert NO_ID in revoked_table
    assert conf["left"]["mesh"] == shell.env["MESHQ_MESH"]
    settings = [line.split()[1:] for line in conf_table.splitlines()]
    assert ["mesh", shell.env["MESHQ_MESH"], "environment", "MESHQ_MESH"] in settings
    assert ["insecure", "False", "default"] in settings
    text = report["left"]["ok"]
    first, *lines = report_shown.splitlines()
    assert first.startswith("left@")
    lasting = [line for line in text.splitlines() if " up " not in line and "queued: " not in line]  # which change
    assert len(lasting) > 5
    assert [line for line in lines if line in lasting] == lasting
    assert ping["left"]["ok"] == "pong"


def test_pool_resize(shell: Shell) -> None:
    """A node gets more slots, and fewer, and ping tells how many."""
    try:
        assert replies(shell, "pool-resize", 3, "--destination", "left")["left"]["slots"] == 3
        assert replies(shell, "ping")["left"]["slots"] == 3
    finally:
        replies(shell, "pool-resize", 1, "--destination", "left")
    assert replies(shell, "ping")["left"]["slots"] == 1


def test_drain_and_shutdown(lonely: Shell) -> None:
    """A drained node stays, takes nothing, and answers; shut down it replies, ends, and exits with 0."""
    node = lonely.node("photos", "--name", "tired", "--slots", 1)
    assert replies(lonely, "drain")["tired"]["ok"] == "draining"
    pinged, called = lonely.run_all(["ctl", "ping", "--json"], ["call", "photos.add", 1, 2, "--timeout", 1])
    assert told(pinged)["tired"]["draining"] is True
    assert called.code == 1
    assert replies(lonely, "shutdown")["tired"]["ok"] == "shutting down"
    assert node.wait() == 0
    assert lonely.run("nodes", "--timeout", 0.5).code == 3


def test_broadcast_with_and_without_replies(shell: Shell) -> None:
    """A command that no node knows is an error reply of each, exit code 1; without ``--reply`` nobody waits."""
    broadcast = ["ctl", "broadcast"]
    done, pinged, silent = shell.run_all(
        [*broadcast, "sing", "volume=11", "--reply"],
        [*broadcast, "ping", "--reply"],
        [*broadcast, "ping", "--json"],
    )
    assert done.code == 1
    assert done.out.count("error: there is no control command 'sing'") == 2
    assert pinged.code == 0
    assert (silent.code, silent.json()["replies"]) == (0, None)


def test_a_command_of_the_users_own(shell: Shell) -> None:
    """It gets its arguments by name, and its result is the reply; an exception of it is an error."""
    found = replies(shell, "broadcast", "whisper", "text=hush", "times=2", "--reply")
    assert {reply["ok"] for reply in found.values()} == {"hush hush"}
    done = shell.run("ctl", "broadcast", "whisper", "text=hush", "times=no", "--reply", "--destination", "left")
    assert done.code == 1
    assert "error: " in done.out
    assert "TypeError" in done.out


# ---------------------------------------------------------------------- on a terminal


def on_a_terminal(shell: Shell, arguments: list[str], typed: str = "") -> tuple[str, int]:
    """Run ``meshq ARGUMENTS`` on a terminal of its own; return what that shows, and the exit code."""
    primary, secondary = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "meshq", *arguments], cwd=shell.directory, env=shell.env | {"TERM": "xterm"},
            stdin=secondary, stdout=secondary, stderr=secondary, close_fds=True,
        )  # fmt: skip
        os.close(secondary)
        os.write(primary, typed.encode())
        shown = b""
        try:
            while chunk := os.read(primary, 4096):
                shown += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        return shown.decode(), process.wait(WAIT_S)
    finally:
        os.close(primary)


def test_a_long_wait_is_explained_on_a_terminal(lonely: Shell) -> None:
    """After a second a line says what is waited for; it is not there where nobody looks, or a program reads."""
    ping = ["ctl", "ping"]
    with ThreadPoolExecutor() as pool:
        looked_at, as_json = (pool.submit(on_a_terminal, lonely, words) for words in (ping, [*ping, "--json"]))
        assert "looking" not in lonely.run(*ping).err
    shown, code = looked_at.result()
    assert code == 3
    assert "looking for nodes…" in shown
    assert "no node of the mesh" in shown
    assert "looking" not in as_json.result()[0]


def test_a_long_call_says_that_it_runs(shell: Shell) -> None:
    """So does a call, and its result is printed as ever."""
    shown, code = on_a_terminal(shell, ["call", "photos.slow", "on-a-terminal", "1.5"])
    assert code == 0
    assert "running…" in shown
    assert "finished" in shown
