"""What all tests need of this process."""

from __future__ import annotations

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts its background jobs so, and their children would inherit it: deaf to the Ctrl-C of the tests.
    signal.signal(signal.SIGINT, signal.default_int_handler)
