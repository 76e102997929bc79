"""Record what the wire carries today, where that was not recorded yet: ``python tests/wire1/record_wire1.py``.

Run it when a message has got a new field, or a case was added; nothing that was recorded is ever written over.
What is new is listed, to be looked at and committed.
"""

from __future__ import annotations

from wire1_files import now, recordings, write
from wire1_messages import MESSAGES
from wire1_payloads import PAYLOADS


def main() -> None:
    """Write what differs from the latest recording under the next number."""
    cases = [(name, "frames") for name in MESSAGES] + [(name, "payload") for name in PAYLOADS]
    for name, kind in cases:
        known = recordings(name, kind)
        fixed = kind == "payload" and known and not PAYLOADS[name].ours
        made = now(name, kind)
        if not fixed and made not in known.values():
            print("recorded", write(name, kind, max(known, default=0) + 1, made))


if __name__ == "__main__":
    main()
