"""The command line against two nodes that it finds by itself: what each command prints, and its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_harness import WAIT_S, Shell

NO_ID = "00000000-0000-0000-0000-000000000001"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell on a host where nodes ``left`` and ``right`` run."""
    opened = Shell(tmp_path_factory.mktemp("cli"))
    try:
        opened.node("photos", "--name", "left", "--slots", 1, "--tag", "gpu")
        opened.node("photos", "--name", "right", "--slots", 2, "--allow", "operator:mul")
        yield opened
    finally:
        opened.close()


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Shell]:
    """A shell in whose mesh there is no node."""
    opened = Shell(tmp_path)
    yield opened
    opened.close()


# ---------------------------------------------------------------------- nodes


def test_nodes_lists_each_node(shell: Shell) -> None:
    """One line a node: its name, address, state, slots, tags and functions."""
    done = shell.run("nodes")
    assert (done.code, done.err) == (0, "")
    header, left, right = done.out.splitlines()
    assert header.split() == ["NODE", "ADDRESS", "STATE", "SLOTS", "KEY", "TAGS", "FUNCTIONS"]
    name, address, *rest = left.split()
    assert name.startswith("left@")
    assert address.startswith("tcp://127.0.0.1:")
    assert rest == ["alive", "1", "no", "gpu", "photos.add", "photos.boom", "photos.echo", "photos.slow"]
    assert right.startswith("right@")
    assert "operator.mul" in right


def test_nodes_as_json(shell: Shell) -> None:
    """Programs get every field, under a version."""
    done = shell.run("nodes", "--json", "--wait", 2)
    assert done.code == 0
    left, right = done.json()["nodes"]
    assert left["name"].startswith("left@")
    assert (left["slots"], left["tags"], left["state"], left["secured"]) == (1, ["gpu"], "alive", False)
    assert {"photos.add", "operator.mul"} <= set(right["functions"])
    assert uuid.UUID(left["id"]) != uuid.UUID(right["id"])


def test_fewer_nodes_than_waited_for(shell: Shell) -> None:
    """``--wait`` lists those that are there, and says in the exit code that some are not."""
    done = shell.run("nodes", "--wait", 3, "--timeout", 1)
    assert done.code == 5
    assert "left@" in done.out
    assert done.err == "meshq: 2 of 3 nodes were found in 1 s\n"


@pytest.mark.parametrize(
    "command", [["nodes", "--timeout", "0.5"], ["ctl", "ping"], ["call", "a.b", "--timeout", "1"]], ids=" ".join
)
def test_without_nodes_the_reason_is_said(lonely: Shell, command: list[str]) -> None:
    """Exit code 3, one line on stderr, and nothing on stdout."""
    done = lonely.run(*command)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("meshq: no node of the mesh 'cli-")
    assert len(done.err.splitlines()) == 1


def test_without_nodes_the_reason_is_the_json(lonely: Shell) -> None:
    """With ``--json`` the reason is the one value, and stderr is empty."""
    done = lonely.run("nodes", "--timeout", 0.2, "--json")
    assert (done.code, done.err) == (3, "")
    assert done.json()["error"].startswith("no node of the mesh")


def test_a_peer_where_nothing_listens_is_named(lonely: Shell) -> None:
    """The reason names the address that was given."""
    done = lonely.run("nodes", "--peer", "tcp://127.0.0.1:1", "--timeout", 1)
    assert done.code == 3
    assert "tcp://127.0.0.1:1" in done.err
    assert "nothing listens there" in done.err


# ---------------------------------------------------------------------- ctl


def test_ping_asks_all_nodes(shell: Shell) -> None:
    """Every node replies, in one line each."""
    done = shell.run("ctl", "ping")
    assert (done.code, done.err) == (0, "")
    assert [line.split()[:2] for line in done.out.splitlines()[1:]] == [
        [name, "pong"] for name in sorted(line.split()[0] for line in done.out.splitlines()[1:])
    ]
    assert len(done.out.splitlines()) == 3


def test_ping_as_json(shell: Shell) -> None:
    """The replies by node, and nobody missing."""
    value = shell.run("ctl", "ping", "--json").json()
    assert sorted(name.partition("@")[0] for name in value["replies"]) == ["left", "right"]
    assert {reply["ok"] for reply in value["replies"].values()} == {"pong"}
    assert value["missing"] == {}


def test_ping_in_a_cold_shell_is_quick(shell: Shell) -> None:
    """Start of Python, discovery, command and all replies take 1 s; on a busy machine, one time of five."""
    for _ in range(5):
        began = time.monotonic()
        assert len(shell.run("ctl", "ping", "--json").json()["replies"]) == 2
        if time.monotonic() - began < 1.5:
            return
    pytest.fail("it took longer than 1.5 s each time")


@pytest.mark.parametrize("choice", [["--destination", "left"], ["--pattern", "l*"]])
def test_a_command_to_some_nodes(shell: Shell, choice: list[str]) -> None:
    """By name or by glob, only those meant reply, and the others are not missed."""
    value = shell.run("ctl", "ping", *choice, "--json")
    assert value.code == 0
    assert [name.partition("@")[0] for name in value.json()["replies"]] == ["left"]


def test_a_limit_that_is_reached_is_no_failure(shell: Shell) -> None:
    """Whoever asks for one reply gets one, and exit code 0."""
    done = shell.run("ctl", "ping", "--limit", 1, "--json")
    assert done.code == 0
    assert len(done.json()["replies"]) == 1


def test_a_node_that_is_named_and_not_there_is_missing(shell: Shell) -> None:
    """The reply of the other is printed, the missing one named with the reason; exit code 5."""
    done = shell.run("ctl", "ping", "--destination", "left", "--destination", "middle")
    assert done.code == 5
    assert "left@" in done.out
    assert done.err == "meshq: middle is missing: no node of that name was found\n"


def test_nobody_meant_is_exit_code_3(shell: Shell) -> None:
    """Where no node matches, those that are there are named."""
    done = shell.run("ctl", "ping", "--destination", "middle")
    assert (done.code, done.out) == (3, "")
    assert "no node matches middle; seen: left@" in done.err


def test_revoke_says_what_became_of_each(shell: Shell) -> None:
    """Each node replies for each id."""
    value = shell.run("ctl", "revoke", NO_ID, "--json").json()
    assert [reply["ok"] for reply in value["replies"].values()] == [{NO_ID: "unknown, will be refused"}] * 2


def test_revoke_ends_a_running_task(shell: Shell) -> None:
    """With ``--terminate`` the task's worker is ended, and the node says so."""
    marker = shell.directory / "to-be-revoked"
    task_id = shell.run("call", "photos.slow", marker, 600, "--detach").out.strip()
    deadline = time.monotonic() + WAIT_S
    while not marker.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    done = shell.run("ctl", "revoke", task_id, "--terminate", "--signal", "KILL", "--json")
    assert done.code == 0
    assert "terminated" in [reply["ok"][task_id] for reply in done.json()["replies"].values()]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["revoke", "no-id"], "'no-id' is not a task id"),
        (["revoke", NO_ID, "--signal", "HELLO"], "is not the name of a signal"),
        (["broadcast", "ping", "5"], "written K=V (got '5')"),
        (["broadcast", "no name"], "a control command is a name"),
        (["ping", "--timeout", "0"], "--timeout"),
        (["ping", "--limit", "0"], "--limit"),
        (["pong"], "No such command 'pong'"),
    ],
)
def test_wrong_usage_of_ctl(shell: Shell, arguments: list[str], complaint: str) -> None:
    """Exit code 2, and what is wrong, without a traceback."""
    done = shell.run("ctl", *arguments)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert "Traceback" not in done.err


def test_wrong_usage_as_json(lonely: Shell) -> None:
    """What click and what meshq find wrong are both the one JSON value."""
    for arguments in (["ping", "--timeout", "x"], ["revoke", "no-id"]):
        done = lonely.run("ctl", *arguments, "--json")
        assert (done.code, done.err) == (2, "")
        assert arguments[-1] in done.json()["error"]


def test_broadcast_with_and_without_replies(shell: Shell) -> None:
    """A command that no node knows is an error reply of each, exit code 1; without ``--reply`` nobody waits."""
    done = shell.run("ctl", "broadcast", "sing", "volume=11", "--reply")
    assert done.code == 1
    assert done.out.count("error: there is no control command 'sing'") == 2
    assert shell.run("ctl", "broadcast", "ping", "--reply").code == 0
    silent = shell.run("ctl", "broadcast", "ping", "--json")
    assert (silent.code, silent.json()["replies"]) == (0, None)


# ---------------------------------------------------------------------- call


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["photos.add", "2", "3"], "5"),
        (["photos:add", "two", " words"], "two words"),
        (["photos.add", "--kwargs", '{"x": [1], "y": [null]}'], "[1, None]"),
        (["operator.mul", "6", "7.0"], "42.0"),
        (["photos.echo", "--", "-1"], "-1"),
    ],
)
def test_call_prints_the_result(shell: Shell, arguments: list[str], printed: str) -> None:
    """An argument is JSON where it parses, else a string; the result is printed as Python shows it."""
    done = shell.run("call", *arguments)
    assert (done.code, done.out, done.err) == (0, f"{printed}\n", "")


def test_call_as_json(shell: Shell) -> None:
    """The result is a JSON value, with the task's id."""
    value = shell.run("call", "photos.echo", '{"a": [1, true]}', "--json").json()
    assert value["result"] == {"a": [1, True]}
    assert uuid.UUID(value["task_id"])


def test_a_task_that_fails(shell: Shell) -> None:
    """Exit code 1, with the error and the traceback of the node's worker on stderr; or all as JSON."""
    done = shell.run("call", "photos.boom")
    assert (done.code, done.out) == (1, "")
    assert 'raise ValueError("no such photo")' in done.err
    assert done.err.endswith("meshq: the task failed: ValueError: no such photo\n")
    value = shell.run("call", "photos.boom", "--json")
    assert (value.code, value.err) == (1, "")
    assert value.json()["type"] == "ValueError"
    assert value.json()["error"] == "no such photo"
    assert "photos.py" in value.json()["traceback"]


@pytest.mark.parametrize("flags", [[], ["--detach"]])
def test_calling_what_nobody_offers(shell: Shell, flags: list[str]) -> None:
    """Exit code 1, with what would help."""
    done = shell.run("call", "photos.paint", *flags)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("meshq: no node offers photos.paint.")


def test_a_call_that_takes_too_long(shell: Shell) -> None:
    """``--timeout`` gives up, and says so."""
    done = shell.run("call", "photos.slow", shell.directory / "too-long", 3, "--timeout", 1.5)
    assert done.code == 1
    assert done.err == "meshq: no result in 1.5 s: the task is given up\n"


@pytest.mark.parametrize("given", ["[1]", "{", '"x"'])
def test_wrong_keyword_arguments(shell: Shell, given: str) -> None:
    """What is no JSON object is exit code 2, with an example."""
    done = shell.run("call", "photos.add", "--kwargs", given)
    assert done.code == 2
    assert done.err.startswith("meshq: --kwargs must be a JSON object")


def test_ctrl_c_ends_a_call_quietly(shell: Shell) -> None:
    """Exit code 130 within moments, and no traceback."""
    process, _ = shell.call_slow("interrupted", 5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT_S) == 130
    assert time.monotonic() - began < 4.0
    assert (shell.directory / "interrupted.log").read_text().strip() == ""


# ---------------------------------------------------------------------- config, help, and the like


def test_config_show_says_where_each_setting_comes_from(lonely: Shell) -> None:
    """File, environment and default are told apart, in the table and in JSON."""
    (lonely.directory / "meshq.toml").write_text('slots = 3\ntags = ["a", "b"]\n')
    rows = {line.split()[0]: line.split(maxsplit=1)[1] for line in lonely.run("config", "show").out.splitlines()}
    assert rows["slots"].split() == ["3", str(lonely.directory / "meshq.toml")]
    assert rows["mesh"].endswith("environment MESHQ_MESH")
    assert rows["insecure"].split() == ["no", "default"]
    settings = lonely.run("config", "show", "--json").json()["settings"]
    assert settings["tags"] == {"value": ["a", "b"], "source": str(lonely.directory / "meshq.toml")}
    assert settings["port"] == {"value": None, "source": "default"}


def test_a_wrong_setting_is_exit_code_2(lonely: Shell) -> None:
    """The variable is named, in one line, by whichever command."""
    for command in (["config", "show"], ["nodes"], ["node"], ["key", "show"]):
        done = lonely.run(*command, MESHQ_SLOTS="many")
        assert done.code == 2
        assert done.err.startswith("meshq: environment MESHQ_SLOTS: slots must be a whole number")
        assert len(done.err.splitlines()) == 1


def test_help_loads_nothing_else(lonely: Shell) -> None:
    """``meshq --help`` lists the commands, and imports neither sockets nor any command."""
    code = (
        "import sys\nfrom meshq.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as end:\n    print('code', end.code)\n"
        "heavy = {'zmq', 'zeroconf', 'rich', 'msgpack', 'meshq.client', 'meshq.node', 'meshq.cli.node'}\n"
        "print('loaded', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=lonely.env, capture_output=True, text=True, timeout=WAIT_S, check=True
    )
    assert done.stdout.endswith("code 0\nloaded []\n")
    for command in ("demo", "node", "nodes", "call", "ctl", "key", "config"):
        assert f"\n  {command} " in done.stdout
    assert "_MESHQ_COMPLETE=bash_source" in done.stdout


@pytest.mark.parametrize(
    "command", ["node", "nodes", "call", "ctl ping", "ctl revoke", "ctl broadcast", "key new"]
)
def test_each_command_explains_itself(lonely: Shell, command: str) -> None:
    """``--help`` of a command names it, and exits with 0."""
    done = lonely.run(*command.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: meshq {command}")


def test_version(lonely: Shell) -> None:
    """``--version`` is one line."""
    assert lonely.run("--version").out.split() == ["meshq", "0.1.0"]


def test_a_mistyped_command(lonely: Shell) -> None:
    """The likeliest ones are named."""
    done = lonely.run("nod")
    assert done.code == 2
    assert "there is no command 'nod'; did you mean node or nodes?" in done.err
    assert "the commands are demo, node" in lonely.run("xyzzy").err


def test_completion_knows_the_commands(lonely: Shell) -> None:
    """Shells complete the names of commands as click does it."""
    done = lonely.run(_MESHQ_COMPLETE="bash_complete", COMP_WORDS="meshq no", COMP_CWORD="1")
    assert {"plain,node", "plain,nodes"} <= set(done.out.split())


def test_a_closed_pipe_is_no_traceback(lonely: Shell) -> None:
    """A reader that stops reading, such as ``head``, ends the command quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as file:
        done = subprocess.run(
            [sys.executable, "-m", "meshq", "config", "show"], env=lonely.env, cwd=lonely.directory, stdout=file,
            stderr=subprocess.PIPE, text=True, timeout=WAIT_S, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "")


def test_json_stays_json_whatever_a_task_returns(shell: Shell) -> None:
    """NaN and bytes, which JSON has not, are text: the output parses."""
    done = shell.run("call", "photos.echo", "NaN", "--json")
    assert done.json()["result"] == "NaN"  # typed as text, since it is no JSON
    assert json.loads(shell.run("call", "operator.mul", "1e308", "10", "--json").out)["result"] == "inf"
