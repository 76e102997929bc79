"""``meshq`` and ``python -m meshq``: the command line."""

import sys

INTERRUPTED = 130
"""As in ``meshq.cli.exits``, which may not have been imported yet."""


def main() -> None:
    """Run the command line, and exit with its code; Ctrl-C ends it quietly, while it is still imported too."""
    try:
        from meshq.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
