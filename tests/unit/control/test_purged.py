"""The sum of a purge: many count, and no task is counted twice."""

from __future__ import annotations

from typing import Any

from meshq.control.purged import Purged, count_purged
from meshq.control.replies import Replies


def replies(missing: dict[str, str] | None = None, **values: Any) -> Replies:
    """Return the replies of nodes a, b…"""
    made = Replies()
    made.extend({f"{name}@h": value} for name, value in values.items())
    made.missing.update(missing or {})
    return made


def test_a_client_that_several_nodes_name_counts_once() -> None:
    """What nodes count of their own adds up."""
    purged = count_purged(
        replies(
            a={"ok": 2, "clients": {"11": 10, "22": 5}, "silent": []},
            b={"ok": 1, "clients": {"11": 10, "33": 0}, "silent": []},
        ),
        {},
    )
    assert purged == 18
    assert isinstance(purged, int)
    assert purged.missing == {}
    assert len(purged.replies) == 2


def test_this_client_counts_once_too() -> None:
    """Whether nodes have relayed the purge to it or not."""
    relayed = replies(a={"ok": 0, "clients": {"11": 7}, "silent": []})
    assert count_purged(relayed, {"11": 7}) == 7
    assert count_purged(replies(a={"ok": 0, "clients": {}, "silent": []}), {"11": 7}) == 7
    assert count_purged(replies(), {"11": 7}) == 7


def test_the_silent_are_named() -> None:
    """Nodes with the reason, and clients that a node waited for in vain, once each."""
    purged = count_purged(
        replies(
            {"c@h": "unreachable"},
            a={"ok": 3, "clients": {}, "silent": ["pid 7 on h"]},
            b={"ok": 2, "clients": {}, "silent": ["pid 7 on h"]},
        ),
        {},
    )
    assert purged == 5
    assert purged.missing == {"c@h": "unreachable", "pid 7 on h": "no reply in time"}


def test_errors_and_nonsense_count_nothing() -> None:
    """A peer may answer anything; the error stays among the replies."""
    purged = count_purged(
        replies(
            a={"error": "no"}, b="what", c={"ok": "x", "clients": [1], "silent": {"x": 1}},
            d={"ok": -5, "clients": {"11": "y", "22": -3}, "silent": [7]},
        ),
        {},
    )  # fmt: skip
    assert purged == 0
    assert purged.missing == {"7": "no reply in time"}
    assert purged.replies.by_node()["a@h"] == {"error": "no"}


def test_the_number_is_what_is_shown() -> None:
    """It prints, adds and compares as the int that it is."""
    purged = Purged(3)
    assert (str(purged), purged + 1, f"{purged}") == ("3", 4, "3")
