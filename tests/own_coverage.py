"""Check that each core module is covered, branches too, by its own test files alone.

Run it as ``python tests/own_coverage.py``, with names of modules for some only. It takes a minute, and exits
with 1 where a line or a branch is missed. A module of declarations alone (``events``, ``work``) has no test file.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests" / "unit" / "core"
DECLARATIONS = {"__init__", "candidates", "events", "holding", "owning", "presence", "work"}


def test_files(module: str) -> list[str]:
    """Return the test files of a module: ``test_NAME.py`` and ``test_NAME_TOPIC.py``."""
    others = {path.stem for path in (ROOT / "meshq" / "core").glob("*.py")} - {module}
    named = TESTS.glob(f"test_{module}*.py")
    return sorted(str(path) for path in named if path.stem.removeprefix("test_") not in others)


def is_covered(module: str) -> bool:
    """Run a module's own tests, and say what they miss."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *test_files(module),
            f"--cov=meshq.core.{module}", "--cov-branch", "--cov-fail-under=100",
            "--cov-report=term-missing:skip-covered",
        ]  # fmt: skip
        env = {"COVERAGE_FILE": f"{scratch}/coverage", "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    print(f"{module}: {'covered' if not done.returncode else done.stdout[-2000:]}", flush=True)
    return not done.returncode


def main() -> int:
    """Check the modules named, or all."""
    modules = sys.argv[1:] or [path.stem for path in sorted((ROOT / "meshq" / "core").glob("*.py"))]
    missed = [name for name in modules if name not in DECLARATIONS and not is_covered(name)]
    print(f"{len(missed)} modules are not covered by their own tests: {', '.join(missed) or 'none'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
