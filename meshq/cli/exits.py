"""The exit codes, which scripts may rely on."""

from __future__ import annotations

from meshq.errors import AuthenticationError, ConfigError, NoNodes

OK = 0
FAILED = 1
"""A task or a command failed."""
USAGE = 2
"""Wrong usage, or a wrong setting."""
NO_NODES = 3
REFUSED = 4
"""A key is missing, or is another one."""
PARTIAL = 5
"""Only some of the nodes replied."""
INTERRUPTED = 130
"""Ctrl-C: 128 + SIGINT, as shells have it."""


def code_of(error: BaseException) -> int:
    """Return the exit code for an error that ends a command."""
    for kind, code in ((ConfigError, USAGE), (NoNodes, NO_NODES), (AuthenticationError, REFUSED)):
        if isinstance(error, kind):
            return code
    return FAILED
