"""Keys on the command line: how they are made, and that without the right one there is nothing to be had."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_harness import Shell, command

KEYS = [[], ["--key", "other.key"]]
COMMANDS = [["nodes"], ["ctl", "ping"], ["call", "photos.add", "1", "2", "--timeout", "2"]]


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell on a host where a node with a key runs, on all interfaces; and another key."""
    opened = Shell(tmp_path_factory.mktemp("key"))
    try:
        for name in ("mesh.key", "other.key"):
            assert opened.run("key", "new", name).code == 0
        node = opened.node("photos", "--slots", 1, "--key", "mesh.key", "--bind", "0.0.0.0")
        opened.env["ADDRESS"] = f"tcp://127.0.0.1:{node.port()}"
        opened.run_ahead(
            *(command(*arguments, *key) for arguments in COMMANDS for key in KEYS),
            *(command("nodes", *key, **by_address(opened)) for key in KEYS),
            command("nodes", "--json"), command("nodes", "--insecure"),
        )  # fmt: skip
        yield opened
    finally:
        opened.close()


def by_address(shell: Shell) -> dict[str, str]:
    """Return what has a client dial the node, of which mDNS tells it nothing."""
    return {"MESHQ_MDNS": "no", "MESHQ_PEERS": shell.env["ADDRESS"]}


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Shell]:
    """A shell where there is no key yet."""
    opened = Shell(tmp_path)
    yield opened
    opened.close()


def test_a_new_key_is_private_and_never_printed(fresh: Shell) -> None:
    """It goes where nodes and clients find it, for its owner alone; only its fingerprint is shown."""
    made = fresh.run("key", "new")
    path = fresh.directory / "config" / "meshq" / "mesh.key"
    secret = path.read_text().strip()
    assert made.code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert str(path) in made.out
    assert "Copy it" in made.out
    shown = fresh.run("key", "show")
    print_, where = shown.out.split()
    assert (shown.code, where) == (0, str(path))
    assert print_ in made.out
    as_json = fresh.run("key", "show", path, "--json").json()
    assert (as_json["fingerprint"], as_json["path"]) == (print_, str(path))
    assert not any(secret in text for text in (made.out, made.err, shown.out, str(as_json)))


def test_a_key_is_never_replaced(fresh: Shell) -> None:
    """Exit code 2, and the old one stays."""
    assert fresh.run("key", "new", "a.key").code == 0
    before = (fresh.directory / "a.key").read_text()
    again = fresh.run("key", "new", "a.key")
    assert again.code == 2
    assert "a.key exists already" in again.err
    assert (fresh.directory / "a.key").read_text() == before
    assert "exists already" in fresh.run("key", "new", "a.key", "--json").json()["error"]


def test_showing_what_is_not_there(fresh: Shell) -> None:
    """Exit code 2, with the command that makes one."""
    done = fresh.run("key", "show")
    assert (done.code, done.out) == (2, "")
    assert "there is no mesh key" in done.err
    assert "meshq key new" in done.err


def test_with_the_key_the_node_answers(shell: Shell) -> None:
    """Found by mDNS, listed, pinged, called."""
    listed, pinged = shell.run_all(["nodes", "--key", "mesh.key", "--json"], ["ctl", "ping", "--key", "mesh.key"])
    (node,) = listed.json()["nodes"]
    assert node["secured"] is True
    assert pinged.code == 0
    assert shell.run("call", "photos.add", 2, 3, MESHQ_KEY="mesh.key").out == "5\n"


@pytest.mark.parametrize("key", KEYS, ids=["none", "other"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_without_the_right_key_there_is_nothing(shell: Shell, key: list[str], arguments: list[str]) -> None:
    """Exit code 4, with the reason in one line."""
    done = shell.run(*arguments, *key)
    assert (done.code, done.out) == (4, "")
    assert "key" in done.err
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("key", KEYS, ids=["none", "other"])
def test_knowing_the_address_does_not_help(shell: Shell, key: list[str]) -> None:
    """A client that mDNS told nothing, and dials all the same, is turned away with exit code 4."""
    done = shell.run("nodes", *key, **by_address(shell))
    assert (done.code, done.out) == (4, "")
    assert "key" in done.err


def test_the_reason_is_in_the_json_too(shell: Shell) -> None:
    """Exit code 4, and one JSON value."""
    done = shell.run("nodes", "--json")
    assert done.code == 4
    assert "it wants a mesh key and we have none" in done.json()["error"]


def test_insecure_does_not_open_a_node_that_has_a_key(shell: Shell) -> None:
    """``--insecure`` trusts nodes without a key; it does not get past one."""
    assert shell.run("nodes", "--insecure").code == 4
    assert shell.run("nodes", "--insecure", "--key", "mesh.key").code == 2


def test_insecure_opens_a_node_and_says_so(fresh: Shell) -> None:
    """A node with ``--insecure`` serves all interfaces, warns in its log, and is marked in ping."""
    node = fresh.node("photos", "--slots", 1, "--insecure", "--bind", "0.0.0.0")
    assert "--insecure: anybody who reaches" in node.output()
    pinged, listed = fresh.run_all(["ctl", "ping", "--insecure"], ["nodes", "--insecure", "--json"])
    assert "secured=False" in pinged.out
    host = socket.gethostname()
    (seen,) = listed.json()["nodes"]
    assert (seen["host"], seen["secured"]) == (host, False)
