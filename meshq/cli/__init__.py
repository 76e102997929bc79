"""The command line, ``meshq``. Each command is loaded when it is called for, so that ``--help`` stays quick."""

from meshq.cli.main import main

__all__ = ["main"]
