"""``meshq bench``, run as a user runs it: what it measures, what it prints, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_harness import Shell

from meshq.cli.bench_parts import PARTS
from meshq.cli.bench_sides import EXECUTOR, MESHQ, POOL
from meshq.cli.local_nodes import processes_of


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A directory to type in."""
    made = Shell(tmp_path)
    yield made
    made.close()


def test_all_parts_of_a_local_mesh_beside_the_pools(shell: Shell) -> None:
    """One command starts a node, measures every part, compares with both pools, and leaves no process behind."""
    done = shell.run("bench", "--local", "--quick", "--compare", "processpool", "--json")
    assert done.code == 0, done.err
    told = done.json()
    assert told["workers_seen"] == {MESHQ: 2, EXECUTOR: 2, POOL: 2}
    assert [(node["slots"], node["secured"]) for node in told["nodes"]] == [(2, True)]
    assert set(told["parts"]) == set(PARTS)
    rate = told["parts"]["throughput"]["figures"]["tasks_per_s"]
    assert rate["medians"][MESHQ] > 0
    assert rate["ratios"][POOL] == pytest.approx(rate["medians"][MESHQ] / rate["medians"][POOL])
    for name, part in told["parts"].items():
        for key, figure in part["figures"].items():
            assert figure["medians"][MESHQ] > 0 or key == "least_share", (name, key)
            assert set(figure["ratios"]) == ({EXECUTOR, POOL} if PARTS[name].compared else set()), (name, key)
    assert sum(told["parts"]["balance"]["shares"].values()) == pytest.approx(1.0)
    assert processes_of(told["mesh"]) == []


def test_a_mesh_of_ones_own(shell: Shell) -> None:
    """Nodes that do not offer the functions are named, with what to do; of those that do there is a table."""
    shell.node("photos", "--name", "other", "--slots", "1")
    useless = shell.run("bench", "--quick", "--json")
    assert (useless.code, useless.json()["type"]) == (1, "UnknownTask")
    assert "meshq node meshq.bench" in useless.json()["error"]
    shell.node("meshq.bench", "--name", "fast", "--slots", "1")
    done = shell.run("bench", "--quick", "--only", "latency")
    assert done.code == 0, done.err
    heading, columns, *rows = done.out.splitlines()
    assert "nodes 1, slots 1, without a key" in heading
    assert columns.split() == ["FIGURE", "UNIT", "meshq"]
    assert [row.partition("  ")[0] for row in rows] == ["one round trip, median", "one round trip, 99 %"]
