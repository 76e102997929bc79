"""Runs what the documentation says to type: nodes and scripts, each a process, on a mesh of their own."""

from __future__ import annotations

import ast
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE_S = 30.0
"""How long a node may take to be ready, a script to end: far more than it needs, as the machine may be busy."""

_COMMAND = re.compile(r"^    ((?:meshq node|python) .+)$", re.MULTILINE)


def commands_of(script: Path) -> list[list[str]]:
    """Return the commands that the head of a script tells its reader to type, split into words."""
    head = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
    return [shlex.split(line) for line in _COMMAND.findall(head)]


class Desk:
    """The terminals of one reader, in one directory; all that was started there ends with it."""

    def __init__(self, directory: Path, scratch: Path) -> None:
        self._directory = directory
        self._scratch = scratch
        self._nodes: list[tuple[subprocess.Popen[bytes], Path]] = []
        clean = {name: value for name, value in os.environ.items() if not name.startswith("MESHQ_")}
        self.env = clean | {
            "MESHQ_MESH": f"docs-{uuid.uuid4().hex[:12]}",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(scratch),
            "XDG_CONFIG_HOME": str(scratch / "config"),
            "XDG_STATE_HOME": str(scratch / "state"),
        }

    def type(self, command: list[str]) -> str:
        """Do a command: ``meshq node …`` starts a node, ``python …`` runs a script, whose output is returned."""
        if command[:2] == ["meshq", "node"]:
            self.start_node(*command[2:])
            return ""
        assert command[0] == "python", f"what to do with {command}?"
        return self.run(*command[1:])

    def start_node(self, *args: str) -> None:
        """Start ``meshq node ARGS``, and wait until it is ready."""
        log = self._scratch / f"node-{len(self._nodes)}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "meshq", "node", *args], cwd=self._directory, env=self.env,
                stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            )  # fmt: skip
        self._nodes.append((process, log))
        end_at = time.monotonic() + PATIENCE_S
        while "is ready" not in log.read_text():
            assert process.poll() is None, f"meshq node {' '.join(args)} has ended:\n{log.read_text()}"
            assert time.monotonic() < end_at, f"meshq node {' '.join(args)} is not ready:\n{log.read_text()}"
            time.sleep(0.02)

    def run(self, *args: str) -> str:
        """Run ``python ARGS``, warnings being errors; return what it has printed. Fails where it fails."""
        command = [sys.executable, "-W", "error", *args]
        done = subprocess.run(
            command, cwd=self._directory, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        said = f"{' '.join(args)} exited with {done.returncode}:\n{done.stdout}{done.stderr}\n{self.node_logs()}"
        assert done.returncode == 0, said
        assert not done.stderr, said
        return done.stdout

    def node_logs(self) -> str:
        """Return what the nodes have logged."""
        return "\n".join(log.read_text() for _, log in self._nodes)

    def until_logged(self, text: str) -> None:
        """Wait until a node has logged a text."""
        end_at = time.monotonic() + PATIENCE_S
        while text not in self.node_logs():
            assert time.monotonic() < end_at, f"no node has logged {text!r}:\n{self.node_logs()}"
            time.sleep(0.02)

    def close(self) -> None:
        """End the nodes as their reader would, with Ctrl-C; see that they exit with 0."""
        try:
            for process, _ in self._nodes:
                process.send_signal(signal.SIGINT)
            codes = [process.wait(PATIENCE_S) for process, _ in self._nodes]
        finally:
            for process, _ in self._nodes:
                process.kill()
                process.wait()
        assert not any(codes), f"nodes exited with {codes}:\n{self.node_logs()}"
