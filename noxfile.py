"""Checks in fresh environments: ``nox`` runs all, ``nox -s lint`` or ``nox -s tests-3.12`` one."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "venv"
PYTHONS = ["3.11", "3.12", "3.13"]


@nox.session
def lint(session: nox.Session) -> None:
    """Run ruff and mypy."""
    session.install("-e", ".[test]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy", "--strict", "meshq")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests, with the arguments after ``--`` if there are any."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Run the measurements; meant for a quiet machine."""
    session.install("-e", ".[test]")
    session.run("pytest", "-m", "bench", "tests/bench", *session.posargs)
