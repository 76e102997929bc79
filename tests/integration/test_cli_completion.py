"""Shells complete commands and flags, however deep, and without loading what these need."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_harness import WAIT_S, Shell

COMPLETE = """
import sys
from meshq.cli import main
try:
    main([])
except SystemExit as end:
    heavy = {"zmq", "zeroconf", "rich", "msgpack", "meshq.client.mesh", "meshq.node.node"}
    print("loaded", sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A shell where nothing runs."""
    opened = Shell(tmp_path)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("meshq c", {"call", "ctl", "config", "completion"}),
        ("meshq no", {"node", "nodes"}),
        ("meshq ctl in", {"inspect"}),
        ("meshq ctl inspect a", {"active"}),
        ("meshq ctl inspect re", {"registered", "report", "reserved", "revoked"}),
        ("meshq ctl rate-limit --des", {"--destination"}),
        ("meshq call --ti", {"--timeout", "--time-limit"}),
        ("meshq result --wa", {"--wait"}),
        ("meshq completion z", {"zsh"}),
        ("meshq xyzzy", set()),
    ],
)
def test_tab_completes(shell: Shell, words: str, expected: set[str]) -> None:
    """The names that begin so, and neither sockets nor the commands' own modules are loaded for it."""
    asked = {"_MESHQ_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE], env=shell.env | asked, capture_output=True, text=True, timeout=WAIT_S,
        check=True,
    )  # fmt: skip
    assert {line.partition(",")[2] for line in done.stdout.split()} == expected
    assert done.stderr == "loaded []\n"


def test_tab_completes_the_next_word(shell: Shell) -> None:
    """After a space all commands are offered, in the order of the help."""
    done = shell.run(_MESHQ_COMPLETE="zsh_complete", COMP_WORDS="meshq ctl ", COMP_CWORD="2")
    kind, name, line = done.out.splitlines()[:3]
    assert (kind, name, line) == ("plain", "ping", "Ask who is there.")


@pytest.mark.parametrize(
    ("kind", "line"), [("bash", "_meshq_completion meshq"), ("zsh", "#compdef meshq"), ("fish", "--command meshq")]
)
def test_the_script_for_a_shell(shell: Shell, kind: str, line: str) -> None:
    """``meshq completion`` prints what the shell is to run."""
    done = shell.run("completion", kind)
    assert (done.code, done.err) == (0, "")
    assert line in done.out


def test_bash_completes_with_the_script(shell: Shell) -> None:
    """In a bash that has run the script, Tab after ``meshq ctl insp`` gives ``inspect``."""
    (shell.directory / "bin").mkdir()
    program = shell.directory / "bin" / "meshq"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m meshq "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(meshq completion bash)"; COMP_WORDS=(meshq ctl insp); COMP_CWORD=2; _meshq_completion meshq; '
        'echo "${COMPREPLY[@]}"'
    )
    path = f"{program.parent}:{shell.env['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env=shell.env | {"PATH": path}, capture_output=True, text=True, timeout=WAIT_S,
        check=True,
    )  # fmt: skip
    assert done.stdout == "inspect\n"
