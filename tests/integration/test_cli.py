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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cli_harness import WAIT_S, Shell, until


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell on a host where nodes ``left`` and ``right`` run."""
    opened = Shell(tmp_path_factory.mktemp("cli"))
    try:
        opened.nodes(
            ["photos", "--name", "left", "--slots", 1, "--tag", "gpu"],
            ["photos", "--name", "right", "--slots", 2, "--allow", "operator:mul"],
        )
        yield opened
    finally:
        opened.close()


@pytest.fixture
def lonely(tmp_path: Path) -> Iterator[Shell]:
    """A shell in whose mesh there is no node."""
    opened = Shell(tmp_path)
    yield opened
    opened.close()


WITHOUT_NODES = [["nodes", "--timeout", "0.5"], ["ctl", "ping"], ["call", "a.b", "--timeout", "1"]]
NOBODY_AS_JSON = ["nodes", "--timeout", 0.2, "--json"]
NOBODY_AT_PEER = ["nodes", "--peer", "tcp://127.0.0.1:1", "--timeout", 1]


CALLS = [
    (["photos.add", "2", "3"], "5"),
    (["photos:add", "two", " words"], "two words"),
    (["photos.add", "--kwargs", '{"x": [1], "y": [null]}'], "[1, None]"),
    (["operator.mul", "6", "7.0"], "42.0"),
    (["photos.echo", "--", "-1"], "-1"),
]
FEWER_NODES = ["nodes", "--wait", 3, "--timeout", 1]


def too_long(shell: Shell) -> list[object]:
    """Return the command line of a call that is given up."""
    return ["call", "photos.slow", shell.directory / "too-long", 3, "--timeout", 1.5]


@pytest.fixture(scope="module")
def used(shell: Shell) -> Shell:
    """The shell in which nodes have been called, and more been waited for, all at the same time."""
    calls = (["call", *arguments] for arguments, _ in CALLS)
    return shell.ahead(*calls, FEWER_NODES, too_long(shell))


@pytest.fixture(scope="module")
def deserted(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell in whose mesh there is no node, which has been looked for in several ways at the same time."""
    return Shell(tmp_path_factory.mktemp("deserted")).ahead(*WITHOUT_NODES, NOBODY_AS_JSON, NOBODY_AT_PEER)


# ---------------------------------------------------------------------- nodes


def test_nodes_lists_each_node(shell: Shell) -> None:
    """One line a node: its name, address, state, slots, tags and functions."""
    done = shell.run("nodes", "--wait", 2)
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


def test_fewer_nodes_than_waited_for(used: Shell) -> None:
    """``--wait`` lists those that are there, and says in the exit code that some are not."""
    done = used.run(*FEWER_NODES)
    assert done.code == 5
    assert "left@" in done.out
    assert done.err == "meshq: 2 of 3 nodes were found in 1 s\n"


@pytest.mark.parametrize("line", WITHOUT_NODES, ids=" ".join)
def test_without_nodes_the_reason_is_said(deserted: Shell, line: list[str]) -> None:
    """Exit code 3, one line on stderr, and nothing on stdout."""
    done = deserted.run(*line)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("meshq: no node of the mesh 'cli-")
    assert len(done.err.splitlines()) == 1


def test_without_nodes_the_reason_is_the_json(deserted: Shell) -> None:
    """With ``--json`` the reason is the one value, and stderr is empty."""
    done = deserted.run(*NOBODY_AS_JSON)
    assert (done.code, done.err) == (3, "")
    assert done.json()["error"].startswith("no node of the mesh")
    assert done.json()["type"] == "NoNodes"


def test_a_peer_where_nothing_listens_is_named(deserted: Shell) -> None:
    """The reason names the address that was given."""
    done = deserted.run(*NOBODY_AT_PEER)
    assert done.code == 3
    assert "tcp://127.0.0.1:1" in done.err
    assert "nothing listens there" in done.err


# ---------------------------------------------------------------------- call


@pytest.mark.parametrize(("arguments", "printed"), CALLS)
def test_call_prints_the_result(used: Shell, arguments: list[str], printed: str) -> None:
    """An argument is JSON where it parses, else a string; the result is printed as Python shows it."""
    done = used.run("call", *arguments)
    assert (done.code, done.out, done.err) == (0, f"{printed}\n", "")


def test_call_as_json(shell: Shell) -> None:
    """The result is a JSON value, with the task's id."""
    value = shell.run("call", "photos.echo", '{"a": [1, true]}', "--json").json()
    assert value["result"] == {"a": [1, True]}
    assert uuid.UUID(value["task_id"])


def test_a_task_that_fails(shell: Shell) -> None:
    """Exit code 1, with the error and the traceback of the node's worker on stderr; or all as JSON."""
    done, value = shell.run_all(["call", "photos.boom"], ["call", "photos.boom", "--json"])
    assert (done.code, done.out) == (1, "")
    assert 'raise ValueError("no such photo")' in done.err
    assert done.err.endswith("meshq: the task failed: ValueError: no such photo\n")
    assert (value.code, value.err) == (1, "")
    assert value.json()["type"] == "ValueError"
    assert value.json()["error"] == "no such photo"
    assert "photos.py" in value.json()["traceback"]
    assert uuid.UUID(value.json()["task_id"])


@pytest.mark.parametrize("flags", [[], ["--detach"]])
def test_calling_what_nobody_offers(shell: Shell, flags: list[str]) -> None:
    """Exit code 1, with what would help."""
    line = ["call", "photos.paint", *flags]
    done, value = shell.run_all(line, [*line, "--json"])
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("meshq: no node offers photos.paint.")
    assert (value.code, value.err) == (1, "")
    assert value.json()["type"] == "UnknownTask"
    assert uuid.UUID(value.json()["task_id"])


def test_a_call_that_takes_too_long(used: Shell) -> None:
    """``--timeout`` gives up, and says so."""
    done = used.run(*too_long(used))
    assert done.code == 1
    assert done.err == "meshq: no result in 1.5 s: the task is given up\n"


OPTIONS = [
    (["--timeout", 0.5], "MeshqError", "no result in 0.5 s"),
    (["--time-limit", 0.3], "TimeLimitExceeded", "ran past its time limit"),
    (["--soft-time-limit", 0.3], "SoftTimeLimitExceeded", ""),
    (["--tag", "plotter"], "UnknownTask", "plotter"),
]


def with_options(shell: Shell, options: list[object]) -> list[object]:
    """Return the command line of a call with these."""
    marker = shell.directory / f"with{options[0]}"
    return ["call", "photos.slow", marker, 3, *options, "--json"]


@pytest.fixture(scope="module")
def optional(shell: Shell) -> Shell:
    """The shell in which calls with each of the options have been made at the same time."""
    return shell.ahead(*(with_options(shell, options) for options, *_ in OPTIONS))


@pytest.mark.parametrize(
    ("options", "kind", "error"), OPTIONS, ids=lambda value: str(value[0]) if isinstance(value, list) else ""
)
def test_a_call_with_options(optional: Shell, options: list[object], kind: str, error: str) -> None:
    """Each acts on this call; what comes of it is told with type and task id, and with exit code 1."""
    done = optional.run(*with_options(optional, options))
    assert (done.code, done.err) == (1, "")
    value = done.json()
    assert value["type"] == kind
    assert error in value["error"]
    assert uuid.UUID(value["task_id"])


def test_a_call_that_expires(shell: Shell) -> None:
    """Behind a task that takes all slots it is given up when its time is over."""
    marker = shell.directory / "in-the-way"
    in_the_way = shell.run("call", "photos.slow", marker, 600, "--tag", "gpu", "--detach").out.strip()
    until(marker.exists)
    value = shell.run("call", "photos.add", 1, 2, "--tag", "gpu", "--expires", 0.3, "--json")
    assert (value.code, value.json()["type"]) == (1, "TaskExpired")
    assert "expired before it was started" in value.json()["error"]
    assert shell.run("ctl", "terminate", in_the_way, "--signal", "KILL").code == 0


def test_a_call_that_starts_later(shell: Shell) -> None:
    """``--countdown`` holds it back, and its result comes as ever."""
    began = time.monotonic()
    assert shell.run("call", "photos.add", 1, 2, "--countdown", 0.7, "--priority", 9, "--tag", "gpu").out == "3\n"
    assert time.monotonic() - began > 0.7


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--priority", 10], "--priority"),
        (["--countdown", -1], "--countdown"),
        (["--expires", 0], "--expires"),
        (["--timeout", "nan"], "'nan' is not a number of seconds"),
        (["--timeout", "inf"], "'inf' is not a number of seconds"),
        (["--time-limit", 1, "--soft-time-limit", 2], "must not be above"),
        (["--countdown", 2, "--expires", 1], "would expire before it may start"),
    ],
)
def test_wrong_options_of_a_call(lonely: Shell, options: list[object], complaint: str) -> None:
    """Exit code 2, before nodes are looked for."""
    done = lonely.run("call", "photos.add", *options)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err


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


def test_ctrl_c_while_it_is_still_imported_ends_it_quietly(lonely: Shell) -> None:
    """No traceback, and the exit code that shells have for it."""
    (lonely.directory / "click.py").write_text("raise KeyboardInterrupt\n")
    done = lonely.run("nodes")
    assert (done.code, done.out, done.err) == (130, "", "")


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
    commands = [["config", "show"], ["nodes"], ["node"], ["key", "show"]]
    lonely.env["MESHQ_SLOTS"] = "many"
    for done in lonely.run_all(*commands):
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
    for name in ("demo", "node", "nodes", "call", "result", "ctl", "key", "config", "completion"):
        assert f"\n  {name} " in done.stdout
    assert 'eval "$(meshq completion bash)"' in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        "node",
        "nodes",
        "call",
        "result",
        "ctl",
        "ctl revoke",
        "ctl inspect",
        "ctl inspect stats",
        "key new",
        "completion",
    ],
)
def test_each_command_explains_itself(lonely: Shell, words: str) -> None:
    """``--help`` of a command names it, and exits with 0."""
    done = lonely.run(*words.split(), "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: meshq {words}")


def test_version(lonely: Shell) -> None:
    """``--version`` is one line."""
    assert lonely.run("--version").out.split() == ["meshq", "0.1.0"]


def test_a_mistyped_command(lonely: Shell) -> None:
    """The likeliest ones are named."""
    done = lonely.run("nod")
    assert done.code == 2
    assert "there is no command 'nod'; did you mean node or nodes?" in done.err
    assert "the commands are demo, node" in lonely.run("xyzzy").err


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


STREAMS = [
    ("config show >&-", 0, ""),
    ("config show 2>&-", 0, ""),
    ("config show >/dev/full", 1, "meshq: the output cannot be written: No space left on device\n"),
    ("ctl purge <&-", 3, "meshq: no node"),
    ("ctl ping 2>&- >&-", 3, ""),
]
Streamed = dict[str, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> Streamed:
    """What commands have come to whose streams are closed or full; they are run at the same time."""
    opened = Shell(tmp_path_factory.mktemp("streams"))

    def run(line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", f'"{sys.executable}" -m meshq {line}'], env=opened.env, cwd=opened.directory,
            capture_output=True, text=True, timeout=WAIT_S, check=False,
        )  # fmt: skip

    with ThreadPoolExecutor() as pool:
        lines = [line for line, *_ in STREAMS]
        return dict(zip(lines, pool.map(run, lines), strict=True))


@pytest.mark.parametrize(("line", "code", "complaint"), STREAMS)
def test_streams_that_are_closed_or_full(streamed: Streamed, line: str, code: int, complaint: str) -> None:
    """Some supervisors start programs without them: no traceback, and the exit code holds."""
    done = streamed[line]
    assert (done.returncode, done.stderr[: len(complaint)]) == (code, complaint)
    assert "Traceback" not in done.stderr


def test_json_stays_json_whatever_a_task_returns(shell: Shell) -> None:
    """NaN and bytes, which JSON has not, are text: the output parses."""
    done, product = shell.run_all(
        ["call", "photos.echo", "NaN", "--json"], ["call", "operator.mul", "1e308", "10", "--json"]
    )
    assert done.json()["result"] == "NaN"  # typed as text, since it is no JSON
    assert json.loads(product.out)["result"] == "inf"
