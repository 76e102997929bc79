"""``meshq node``: what it refuses to start with, and how it ends."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_harness import Shell, is_running, until


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell without a node."""
    opened = Shell(tmp_path)
    yield opened
    opened.close()


WRONG: list[tuple[list[str], str]] = [
    (["--bind", "0.0.0.0"], "without a key a node binds loopback only, not 0.0.0.0: make a key with"),
    (["--allow-pickle"], "--allow-pickle needs a mesh key"),
    (["no_such_module"], "module 'no_such_module' cannot be loaded: there is none of that name"),
    (["photos.py"], "must be the name of a module"),
    (["--slots", "0"], "flag --slots: slots must be a whole number from 1"),
    (["--peer", "10.0.0.1"], "flag --peer: peers must be tcp://HOST:PORT"),
    (["--key", "no.key"], "there is no key file"),
]


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A shell where nodes were to start with everything that is wrong, at the same time."""
    return Shell(tmp_path_factory.mktemp("wrong")).ahead(*(["node", *arguments] for arguments, _ in WRONG))


@pytest.mark.parametrize(("arguments", "complaint"), WRONG)
def test_what_it_does_not_start_with(refusing: Shell, arguments: list[str], complaint: str) -> None:
    """Exit code 2, and one line that says what is wrong and what to do."""
    done = refusing.run("node", *arguments)
    assert done.code == 2
    *_, last = done.err.splitlines()
    assert last.startswith("meshq: ")
    assert complaint in last
    assert "Traceback" not in done.err


def test_a_module_that_fails_to_load_is_named_with_the_cause(shell: Shell) -> None:
    """Exit code 2, and the module's own error."""
    (shell.directory / "broken.py").write_text("import json\njson.no_such_name\n")
    done = shell.run("node", "broken", "--slots", 1)
    assert done.code == 2
    *_, last = done.err.splitlines()
    assert "'broken'" in last
    assert "no_such_name" in last


def test_flags_reach_the_node(shell: Shell) -> None:
    """Name, slots, port and tags are what the mesh sees, and the log is JSON where that is asked for."""
    node = shell.node("photos", "--name", "a", "--slots", 1, "--tag", "x", "--tag", "y", "--log-format", "json")
    assert all(json.loads(line)["message"] for line in node.output().splitlines())
    (seen,) = shell.run("nodes", "--json").json()["nodes"]
    assert (seen["name"].partition("@")[0], seen["slots"], seen["tags"]) == ("a", 1, ["x", "y"])


def test_without_mdns_only_peers_find_it(shell: Shell) -> None:
    """``--no-mdns`` announces nothing; its address still leads to it."""
    node = shell.node("photos", "--slots", 1, "--no-mdns")
    assert shell.run("nodes", "--timeout", 0.5).code == 3
    assert shell.run("call", "photos.add", 1, 2, "--peer", f"tcp://127.0.0.1:{node.port()}").out == "3\n"


@pytest.mark.parametrize(("number", "group"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_an_idle_node_ends_at_once(shell: Shell, number: signal.Signals, group: bool) -> None:
    """By SIGTERM as by Ctrl-C, which a terminal sends to the workers too: exit code 0, no complaint."""
    node = shell.node("photos", "--slots", 1)
    node.signal(number, group)
    assert node.wait() == 0
    assert "Traceback" not in node.output()
    assert " ERROR " not in node.output()


@pytest.mark.parametrize(("number", "group"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_the_first_signal_drains(shell: Shell, number: signal.Signals, group: bool) -> None:
    """What runs is finished and delivered; the node takes nothing new, and exits with 0."""
    node = shell.node("photos", "--slots", 1)
    call, _ = shell.call_slow("drained", 1.0)
    node.signal(number, group)
    assert node.wait() == 0, node.output()
    assert call.wait(10) == 0
    assert (shell.directory / "drained.log").read_text() == "finished\n"
    assert "draining" in node.output()


def test_the_second_signal_stops_at_once(shell: Shell) -> None:
    """What runs is killed; the exit code tells of the signal."""
    node = shell.node("photos", "--slots", 1)
    _, worker = shell.call_slow("stopped", 600.0)
    node.signal(signal.SIGTERM)
    until(lambda: "draining" in node.output(), node.output)
    assert node.process.poll() is None
    node.signal(signal.SIGTERM)
    assert node.wait() == 128 + signal.SIGTERM
    until(lambda: not is_running(worker))


def test_a_node_that_was_stopped_is_gone_from_the_list(shell: Shell) -> None:
    """It has taken leave, so the next look finds the other one alone."""
    first, _ = shell.nodes(*(["photos", "--slots", 1, "--name", name] for name in "ab"))
    assert len(shell.run("nodes", "--wait", 2, "--json").json()["nodes"]) == 2
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    (left,) = shell.run("nodes", "--json").json()["nodes"]
    assert left["name"].startswith("b@")


def test_a_signal_while_workers_start_ends_it(shell: Shell) -> None:
    """A node that is not ready yet has nothing to finish: it ends, and leaves no process."""
    (shell.directory / "sluggish.py").write_text(
        "import os, pathlib, time\npathlib.Path('pid').write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    log = shell.directory / "starting.log"
    process = shell.start("node", "sluggish", "--slots", 1, log=log)
    marker = shell.directory / "pid"
    until(lambda: marker.exists() and marker.read_text(), log.read_text)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) == 0, log.read_text()
    until(lambda: not is_running(int(marker.read_text())))
