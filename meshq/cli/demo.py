"""``meshq demo``: see it work on this machine, with a real job and a node killed half-way."""

from __future__ import annotations

import os
import platform
import secrets
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click

from meshq.cli.demo_job import choose_files, leave_note, nap, survey
from meshq.cli.demo_show import Bars, Show
from meshq.cli.local_nodes import LocalFailed, LocalNodes, sealed_off
from meshq.client.future import Future
from meshq.client.mesh import Mesh
from meshq.errors import MeshqError, TaskRevoked

LOCAL_S = 5.0
"""What the job takes this process alone, about; the nodes share it, as far as there are CPUs."""
JOB_TIMEOUT_S = 60.0
REVOKE_TIMEOUT_S = 10.0
_JOINS_AT, _DIES_AT = 0.25, 0.5
_NAP_S = 3600.0

NEXT = """\
On several hosts:
    meshq key new                 once; then copy the file that it names to the same place on each host
    meshq node yourmodule         on each host; yourmodule.py holds functions with @task
In a script, on any of them:
    from meshq import Mesh
    from yourmodule import yourtask
    with Mesh() as mesh:
        for result in mesh.map(yourtask, items):
            print(result)"""


@click.command()
def demo() -> None:
    """See it work on this machine: two nodes, a real job, a node killed half-way.

    It takes some 15 seconds, listens on loopback only, changes no file of yours, and leaves no process behind.
    """
    show, begun = Show(), time.monotonic()
    mesh_name = f"demo-{secrets.token_hex(4)}"
    show.step(f"meshq demo: mesh {mesh_name}, Python {platform.python_version()}, {os.cpu_count()} CPUs")
    try:
        with sealed_off(mesh_name) as directory:
            files = choose_files(LOCAL_S)
            if not files:
                raise LocalFailed(
                    "this Python's standard library has no .py files here, so there is no job to show"
                )
            with LocalNodes(mesh_name, directory, "meshq.cli.demo_job") as nodes:
                results, mesh_s = _on_the_mesh(show, nodes, files)
            if nodes.left:
                raise LocalFailed(f"processes were left behind, and have been killed: {nodes.left}")
            _check_locally(show, files, results, mesh_s)
    except (MeshqError, TimeoutError) as error:
        raise LocalFailed(f"{type(error).__name__}: {error}") from error
    show.say("The nodes have ended, and no process is left behind.")
    show.step(f"All is well, in {time.monotonic() - begun:.1f} s. Next:")
    show.say(NEXT.replace("\n", "\n  "))


def _on_the_mesh(show: Show, nodes: LocalNodes, files: list[str]) -> tuple[list[dict[str, Any]], float]:
    """Run the whole story but for the check; return the results and how long the job took."""
    show.step("1. Two nodes, which this program finds by mDNS: nobody is given an address")
    begun = time.monotonic()
    nodes.start("alpha", "beta")
    with Mesh() as mesh:
        nodes.wait_seen(mesh, "alpha", "beta")
        for node in sorted(mesh.nodes(), key=lambda node: node.name):
            show.say(f"{node.full_name}: {node.slots} slots, {node.address}, secured by a key made for this run")
        show.say(f"started and found in {time.monotonic() - begun:.1f} s")
        outcome = _run_job(show, nodes, mesh, files)
        nodes.wait_seen(mesh, "gamma")
        _revoke(show, mesh)
    return outcome


# ---------------------------------------------------------------------- the job


def _run_job(show: Show, nodes: LocalNodes, mesh: Mesh, files: list[str]) -> tuple[list[dict[str, Any]], float]:
    size = sum(map(os.path.getsize, files)) / 1e6
    show.step(f"2. A job: tokenise {len(files):,} files of the standard library ({size:.1f} MB)")
    milestones = {
        int(_JOINS_AT * len(files)): lambda: _let_join(show, nodes),
        int(_DIES_AT * len(files)): lambda: _kill_one(show, nodes, mesh),
    }
    results: list[dict[str, Any]] = []
    begun = time.monotonic()
    with Bars(show, "all", len(files)) as bars:
        for result in mesh.map(survey, files, ordered=False, timeout=JOB_TIMEOUT_S):
            results.append(result)
            bars.add(nodes.names[result["node_pid"]])
            if bars.done in milestones:
                milestones[bars.done]()
    took = time.monotonic() - begun
    _check_complete(files, results, bars.shares)
    show.say(f"{len(results):,} results in {took:.1f} s: each file once, nothing is missing", "green")
    for name, count in sorted(bars.shares.items()):
        show.say(f"{name + ':':<6} {count:>6,} files, {count / len(files):.0%} of the job")
    if "gamma" not in bars.shares:
        show.say("gamma:  the job was over before it was there")
    return results, took


def _let_join(show: Show, nodes: LocalNodes) -> None:
    nodes.start("gamma")
    show.say("a third node, gamma, is started; it gets work as soon as it is there")


def _kill_one(show: Show, nodes: LocalNodes, mesh: Mesh) -> None:
    pid = nodes.kill("beta")
    show.say(f"half-way: beta (pid {pid}) is killed by SIGKILL; what it had goes to the others", "yellow")
    replies = mesh.control.ping(["alpha", "beta"])
    answers = {name.partition("@")[0]: value for name, value in replies.by_node().items()}
    missing = {name.partition("@")[0]: reason for name, reason in replies.missing.items()}
    if answers.get("alpha", {}).get("ok") != "pong" or "beta" in answers:
        raise LocalFailed(f"ping: alpha should answer, and beta should not: {replies}, missing: {replies.missing}")
    reason = missing.get("beta", "no longer on the mesh")
    show.say(f"ping: alpha (pid {answers['alpha']['pid']}) answers; beta is missing: {reason}")


def _check_complete(files: list[str], results: list[dict[str, Any]], shares: Counter[str]) -> None:
    counts = Counter(result["path"] for result in results)
    if missing := [path for path in files if not counts[path]]:
        raise LocalFailed(f"{len(missing)} results are missing, such as that of {missing[0]}")
    if twice := [path for path, count in counts.items() if count > 1]:
        raise LocalFailed(f"{len(twice)} results came more than once, such as that of {twice[0]}")
    if idle := {"alpha", "beta"} - set(shares):
        raise LocalFailed(f"these nodes did no part of the job: {', '.join(sorted(idle))}")


# ---------------------------------------------------------------------- revoke


def _revoke(show: Show, mesh: Mesh) -> None:
    show.step("3. Tasks are revoked: one that waits, and those that run")
    naps = _occupy(mesh, sum(node.slots for node in mesh.nodes()))
    note = Path("note").resolve()
    waiting = mesh.submit(leave_note, str(note))
    waiting.revoke()
    _expect_revoked([waiting])
    mesh.control.revoke([future.task_id for future in naps], terminate=True)
    _expect_revoked(naps)
    for future in [mesh.submit(nap, 0.0) for _ in naps]:
        future.result(REVOKE_TIMEOUT_S)  # whatever was waiting before these has had its turn
    if note.exists():
        raise LocalFailed(f"a task that was revoked while it waited ran all the same: it wrote {note}")
    show.say(f"{len(naps)} tasks kept all slots busy, and one waited: revoked, it never ran (TaskRevoked)")
    show.say(f"the {len(naps)}, which would have run for an hour, were ended too, and their slots serve again")


def _occupy(mesh: Mesh, slots: int) -> list[Future[float]]:
    """Give each slot a long task, and wait until all run."""
    naps = [mesh.submit(nap, _NAP_S) for _ in range(slots)]
    end_at = time.monotonic() + REVOKE_TIMEOUT_S
    while not all(future.running() for future in naps):
        if time.monotonic() > end_at:
            states = ", ".join(future.state for future in naps)
            raise LocalFailed(f"not all of {slots} slots took a task within {REVOKE_TIMEOUT_S:.0f} s: {states}")
        time.sleep(0.01)
    return naps


def _expect_revoked(futures: list[Future[Any]]) -> None:
    for future in futures:
        error = future.exception(REVOKE_TIMEOUT_S)
        if not isinstance(error, TaskRevoked):
            raise LocalFailed(f"a task should have been revoked, and ended otherwise: {error!r}")


# ---------------------------------------------------------------------- the check


def _check_locally(show: Show, files: list[str], results: list[dict[str, Any]], mesh_s: float) -> None:
    show.step("4. The same job without the mesh, in this one process, to compare")
    begun = time.monotonic()
    expected: dict[str, dict[str, Any]] = {}
    with Bars(show, "here", len(files)) as bars:
        for path in files:
            expected[path] = survey(path)
            bars.add("here")
    took = time.monotonic() - begun
    for result in results:
        if {**result, "node_pid": 0} != {**expected[result["path"]], "node_pid": 0}:
            raise LocalFailed(f"the mesh's result for {result['path']} is not the one computed here: {result}")
    lines, tokens = (sum(result[key] for result in results) for key in ("lines", "tokens"))
    modules = Counter(module for result in results for module in result["imports"]).most_common(3)
    show.say(f"all {len(files):,} results are equal: {lines:,} lines, {tokens:,} tokens", "green")
    show.say("imported by most files: " + ", ".join(f"{name} ({count:,})" for name, count in modules))
    show.say(f"{took:.1f} s here; {mesh_s:.1f} s on the mesh, with a node lost, and on the same CPUs")
