"""``python -m meshq``: the command line."""

from meshq.cli import main

if __name__ == "__main__":
    main()
