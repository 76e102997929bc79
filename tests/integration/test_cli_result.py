"""``meshq result``: what became of a task that another process has submitted."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from cli_harness import WAIT_S, Shell, command, until

NO_ID = "00000000-0000-0000-0000-000000000001"


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A shell on a host where a node with two slots runs."""
    opened = Shell(tmp_path_factory.mktemp("result"))
    try:
        opened.node("photos", "--slots", 2)
        opened.run_ahead(
            command("result", NO_ID),
            command("result", NO_ID, "--wait", "--json"),
            command("result", NO_ID, **nobody(opened)),
        )
        yield opened
    finally:
        opened.close()


def nobody(shell: Shell) -> dict[str, str]:
    """Return what has a client look for a mesh in which there is no node."""
    return {"MESHQ_MESH": f"not-{shell.env['MESHQ_MESH']}"}


def detach(shell: Shell, *arguments: object) -> str:
    """Submit a task; return its id."""
    done = shell.run("call", *arguments, "--detach")
    assert done.code == 0
    return done.out.strip()


def test_the_result_of_a_task_that_is_done(shell: Shell) -> None:
    """Its state and its value; in JSON both, with the id."""
    task_id = detach(shell, "photos.add", "two", " words")
    done = shell.run("result", task_id, "--wait")
    assert (done.code, done.out, done.err) == (0, "DONE\ntwo words\n", "")
    value = shell.run("result", task_id.replace("-", ""), "--json")
    assert value.code == 0
    assert value.json() == {"schema": 1, "task_id": task_id, "state": "DONE", "result": "two words"}


def test_the_result_of_a_call_that_somebody_waited_for(shell: Shell) -> None:
    """A node keeps what it has run, whoever has submitted it."""
    task_id = shell.run("call", "photos.add", 20, 22, "--json").json()["task_id"]
    assert shell.run("result", task_id).out == "DONE\n42\n"


def test_a_task_that_failed(shell: Shell) -> None:
    """Exit code 1, with the traceback of the worker."""
    task_id = detach(shell, "photos.boom")
    done = shell.run("result", task_id, "--wait")
    assert (done.code, done.out) == (1, "FAILURE\n")
    assert 'raise ValueError("no such photo")' in done.err
    assert done.err.endswith("meshq: the task failed: ValueError: no such photo\n")
    value = shell.run("result", task_id, "--json").json()
    assert (value["state"], value["type"], value["error"]) == ("FAILURE", "ValueError", "no such photo")
    assert "photos.py" in value["traceback"]


def test_a_task_that_runs(shell: Shell) -> None:
    """Its state at once, with exit code 0; whoever waits in vain gets 1, and so does who asks after a revoke."""
    marker = shell.directory / "runs"
    task_id = detach(shell, "photos.slow", marker, 600)
    until(marker.exists)
    at_once, done = shell.run_all(["result", task_id], ["result", task_id, "--timeout", 0.3])
    assert (at_once.code, at_once.out, at_once.err) == (0, "STARTED\n", "")
    assert (done.code, done.out) == (1, "STARTED\n")
    assert done.err == "meshq: the task has not ended in 0.3 s\n"
    assert shell.run("ctl", "terminate", task_id, "--signal", "KILL").code == 0
    done = shell.run("result", task_id, "--wait")
    assert (done.code, done.out) == (1, "REVOKED\n")
    assert done.err.startswith("meshq: ")
    assert "was revoked" in done.err


def test_waiting_for_a_task(shell: Shell) -> None:
    """``--wait`` returns when the task has ended."""
    task_id = detach(shell, "photos.add", 1, 2, "--countdown", 1.5)
    assert shell.run("result", task_id).out == "PENDING\n"
    assert shell.run("result", task_id, "--wait", "--timeout", WAIT_S).out == "DONE\n3\n"


def test_a_task_that_nobody_knows(shell: Shell) -> None:
    """Exit code 1, and why that may be."""
    done = shell.run("result", NO_ID)
    assert (done.code, done.out) == (1, "UNKNOWN\n")
    assert f"knows task {NO_ID}" in done.err
    value = shell.run("result", NO_ID, "--wait", "--json")
    assert value.code == 1
    assert (value.json()["state"], value.json()["type"]) == ("UNKNOWN", "ResultGone")


def test_a_result_that_is_too_large_to_be_kept(shell: Shell) -> None:
    """The state is known, the value is said to be gone; that is no failure of the task."""
    task_id = shell.run("call", "photos.echo", "x" * 100_000, "--json").json()["task_id"]
    done = shell.run("result", task_id)
    assert (done.code, done.out) == (0, "DONE\n")
    assert "its result is not kept" in done.err


def test_wrong_usage(shell: Shell) -> None:
    """Exit code 2 for what is no id, before nodes are looked for."""
    done = shell.run("result", "no-id")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("meshq: 'no-id' is not a task id")


def test_without_nodes(shell: Shell) -> None:
    """Exit code 3, and why none is seen."""
    done = shell.run("result", NO_ID, **nobody(shell))
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("meshq: no node of the mesh")


def test_ctrl_c_ends_the_waiting_quietly(shell: Shell) -> None:
    """Exit code 130, and no traceback."""
    task_id = detach(shell, "photos.add", 1, 2, "--countdown", 600)
    log = shell.directory / "interrupted.log"
    process = shell.start("result", task_id, "--wait", log=log)
    until(lambda: len(os.listdir(f"/proc/{process.pid}/task")) > 1)  # its mesh is open, and it waits
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT_S) == 130
    assert log.read_text().strip() == ""
    shell.run("ctl", "revoke", task_id)
