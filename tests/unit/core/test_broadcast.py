"""Broadcast: one control command, as a conversation of events and effects."""

from __future__ import annotations

import pytest

from meshq.core import broadcast as module
from meshq.core.broadcast import (
    AUTHENTICATION_REFUSED,
    NO_REPLY,
    NOT_SUBSCRIBED,
    NOT_WAITED_FOR,
    UNREACHABLE,
    Answered,
    Broadcast,
    BroadcastEvent,
    Deliver,
    Excused,
    Expected,
    Finish,
    LaneProblem,
    LaneUp,
    Publish,
    SendDirect,
    Subscribed,
)

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16
NAMES = {A: "node@a", B: "node@b"}


def start(expected: dict[bytes, str], *, limit: int | None = None, reply: bool = True, gather: bool = False,
          timeout: float = 1.0, ends: bool = False) -> Broadcast:  # fmt: skip
    """Start a command at time 0."""
    return Broadcast(
        b"id", expected, now=0.0, timeout=timeout, limit=limit, reply=reply, gather=gather, ends=ends
    )  # fmt: skip


def feed(broadcast: Broadcast, *events: BroadcastEvent, now: float = 0.0) -> None:
    """Handle events that must have no effect."""
    for event in events:
        assert broadcast.handle(event, now) == []


def ready(*nodes: bytes) -> list[BroadcastEvent]:
    """Give the events after which these nodes are ready."""
    return [event for node in nodes for event in (Subscribed(node), LaneUp(node))]


def test_all_answer() -> None:
    """Once all are ready the command is published, and the last reply finishes it."""
    run = start(NAMES)
    assert run.command == b"id"
    assert run.next_deadline() == 0.3
    assert run.tick(0.0) == []
    feed(run, Subscribed(A), LaneUp(A), LaneUp(B))
    assert run.handle(Subscribed(B), 0.1) == [Publish()]
    assert run.next_deadline() == pytest.approx(0.55)
    assert run.handle(Answered(A, "node@a", 1), 0.2) == [Deliver(A, "node@a", 1)]
    assert run.handle(Answered(B, "node@b", 2), 0.2) == [Deliver(B, "node@b", 2), Finish({})]
    assert run.next_deadline() is None


def test_nothing_happens_after_the_end() -> None:
    """After Finish every event and tick is ignored."""
    run = start({A: "node@a"})
    feed(run, Subscribed(A))
    assert run.handle(LaneUp(A), 0.0) == [Publish()]
    assert run.tick(1.0) == [Finish({"node@a": NO_REPLY})]
    feed(run, Answered(A, "node@a", 1), Expected(B, "node@b"), LaneUp(A), now=1.1)
    assert run.tick(2.0) == []


def test_each_reply_is_delivered_once() -> None:
    """A node that answers both the published and the direct command counts once."""
    run = start(NAMES)
    feed(run, *ready(A), Subscribed(B))
    assert run.handle(LaneUp(B), 0.0) == [Publish()]
    assert run.handle(Answered(A, "node@a", 1), 0.1) == [Deliver(A, "node@a", 1)]
    feed(run, Answered(A, "node@a", 1), now=0.1)


def test_who_is_not_subscribed_in_time_is_sent_to_directly() -> None:
    """When the time for subscriptions is over, the others get it over their lanes, once those are up."""
    run = start({**NAMES, C: "node@c"})
    feed(run, *ready(A), LaneUp(B))
    assert run.tick(0.3) == [Publish(), SendDirect(B)]
    assert run.handle(LaneUp(C), 0.4) == [SendDirect(C)]
    feed(run, Subscribed(B), Subscribed(C), now=0.4)


def test_the_sync_budget_is_a_second_at_most() -> None:
    """A long timeout does not hold the publishing back for long."""
    assert start(NAMES, timeout=60.0).next_deadline() == 1.0


def test_a_node_with_a_problem_does_not_hold_up_the_others() -> None:
    """A refused lane is not waited for; the others are asked at once, and the reason is told at the end."""
    run = start(NAMES)
    feed(run, *ready(A))
    assert run.handle(LaneProblem(B, AUTHENTICATION_REFUSED), 0.0) == [Publish()]
    assert run.handle(Answered(A, "node@a", 1), 0.1) == [Deliver(A, "node@a", 1)]
    assert run.tick(1.0) == [Finish({"node@b": AUTHENTICATION_REFUSED})]


def test_a_problem_may_pass() -> None:
    """A node whose lane comes up after all is waited for again before publishing, or sent to after it."""
    run = start(NAMES)
    feed(run, LaneProblem(B, UNREACHABLE), LaneUp(B), *ready(A))
    assert run.tick(0.3) == [Publish(), SendDirect(B)]
    late = start(NAMES)
    feed(late, LaneProblem(B, UNREACHABLE), Subscribed(A))
    assert late.handle(LaneUp(A), 0.0) == [Publish()]
    assert late.handle(LaneUp(B), 0.2) == [SendDirect(B)]


def test_who_is_silent_after_half_of_the_rest_is_sent_to_directly() -> None:
    """A reminder goes to the silent with a lane, at once; to the others when their lane comes up."""
    run = start({**NAMES, C: "node@c"})
    feed(run, *ready(A, B), Subscribed(C))
    assert run.tick(0.4) == [Publish()]
    assert run.handle(Answered(A, "node@a", 1), 0.5) == [Deliver(A, "node@a", 1)]
    assert run.next_deadline() == pytest.approx(0.7)
    assert run.tick(0.7) == [SendDirect(B)]
    assert run.handle(LaneUp(C), 0.8) == [SendDirect(C)]
    assert run.next_deadline() == 1.0


def test_a_direct_command_is_sent_again_over_a_new_connection() -> None:
    """What was on its way when the lane broke may be lost; a node that has answered is left alone."""
    run = start(NAMES)
    feed(run, LaneUp(A), LaneUp(B))
    assert run.tick(0.3) == [Publish(), SendDirect(A), SendDirect(B)]
    assert run.handle(Answered(B, "node@b", 1), 0.4) == [Deliver(B, "node@b", 1)]
    feed(run, LaneProblem(A, UNREACHABLE), LaneUp(B), now=0.4)
    assert run.handle(LaneUp(A), 0.5) == [SendDirect(A)]
    assert run.tick(0.65) == []


def test_every_absentee_has_its_reason() -> None:
    """At the deadline each silent node is named with what is known of it."""
    unknown, lame, deaf, mute = (bytes([n]) * 16 for n in range(4))
    run = start({unknown: "unknown", lame: "lame", deaf: "deaf", mute: "mute"})
    feed(run, LaneProblem(lame, AUTHENTICATION_REFUSED), LaneUp(deaf), *ready(mute))
    assert run.tick(0.3) == [Publish(), SendDirect(deaf)]
    assert run.tick(0.65) == [SendDirect(mute)]
    missing = {
        "unknown": UNREACHABLE,
        "lame": AUTHENTICATION_REFUSED,
        "deaf": NOT_SUBSCRIBED,
        "mute": NO_REPLY,
    }
    assert run.tick(1.0) == [Finish(missing)]


def test_the_limit_is_checked_at_each_reply() -> None:
    """It finishes at the very reply that reaches the limit; the others were not waited for."""
    run = start({**NAMES, C: "node@c"}, limit=1)
    feed(run, *ready(A, B))
    assert run.handle(LaneProblem(C, UNREACHABLE), 0.0) == [Publish()]
    missing = {"node@a": NOT_WAITED_FOR, "node@c": UNREACHABLE}
    assert run.handle(Answered(B, "node@b", 1), 0.1) == [Deliver(B, "node@b", 1), Finish(missing)]
    feed(run, Answered(A, "node@a", 1), now=0.1)


def test_without_reply_it_finishes_when_all_are_reached() -> None:
    """Published to the subscribed and sent to the rest, it is over; answers are not awaited."""
    run = start(NAMES, reply=False)
    feed(run, *ready(A))
    assert run.tick(0.3) == [Publish()]
    feed(run, Answered(A, "node@a", 1), Expected(A, "node@a"), now=0.4)
    assert run.handle(LaneUp(B), 0.5) == [SendDirect(B), Finish({})]
    quick = start({A: "node@a"}, reply=False)
    feed(quick, LaneUp(A))
    assert quick.handle(Subscribed(A), 0.1) == [Publish(), Finish({})]


def test_without_reply_the_timeout_bounds_it_too() -> None:
    """Those that it could not be sent to are missing; there is no reminder."""
    run = start({**NAMES, C: "node@c"}, reply=False)
    feed(run, *ready(A), LaneProblem(C, UNREACHABLE))
    assert run.tick(0.3) == [Publish()]
    assert run.next_deadline() == 1.0
    assert run.tick(1.0) == [Finish({"node@b": UNREACHABLE, "node@c": UNREACHABLE})]


def test_without_reply_a_late_node_that_was_published_to_is_not_sent_to_again() -> None:
    """Whoever was subscribed at publishing has the command, expected or not."""
    run = start({A: "node@a"}, reply=False)
    feed(run, LaneUp(B), Subscribed(B))
    assert run.tick(0.3) == [Publish()]
    feed(run, Expected(B, "node@b"), now=0.4)
    assert run.handle(LaneUp(A), 0.5) == [SendDirect(A), Finish({})]


def test_nobody_to_ask() -> None:
    """With nobody to expect or gather, the first tick, due at once, finishes without publishing."""
    run = start({})
    assert run.next_deadline() == 0.0
    assert run.tick(0.0) == [Finish({})]


def test_a_gathering_caller_waits_for_whoever_turns_up() -> None:
    """A cold caller publishes to the first to be ready, and gives others the sync time before it finishes."""
    run = start({}, gather=True)
    assert run.tick(0.0) == []
    feed(run, Expected(A, "node@a"), Subscribed(A), now=0.1)
    assert run.handle(LaneUp(A), 0.1) == [Publish()]
    assert run.handle(Answered(A, "node@a", 1), 0.12) == [Deliver(A, "node@a", 1)]
    feed(run, LaneUp(B), now=0.2)
    assert run.handle(Expected(B, "node@b"), 0.2) == [SendDirect(B)]
    assert run.next_deadline() == 0.3
    assert run.tick(0.3) == []
    assert run.handle(Answered(B, "node@b", 2), 0.4) == [Deliver(B, "node@b", 2), Finish({})]


def test_a_gathering_caller_finishes_after_the_sync_time_when_all_have_answered() -> None:
    """Nobody else having turned up, the end of the sync time is the end."""
    run = start({}, gather=True)
    feed(run, Expected(A, "node@a"), Subscribed(A))
    assert run.handle(LaneUp(A), 0.1) == [Publish()]
    assert run.handle(Answered(A, "node@a", 1), 0.12) == [Deliver(A, "node@a", 1)]
    assert run.tick(0.3) == [Finish({})]


def test_a_gathering_caller_that_meets_nobody() -> None:
    """It publishes after the sync time, to whoever is subscribed by then, and waits out the timeout."""
    run = start({}, gather=True)
    assert run.tick(0.3) == [Publish()]
    assert run.tick(0.65) == []
    assert run.next_deadline() == 1.0
    assert run.tick(1.0) == [Finish({})]


def test_a_reply_from_an_unexpected_node_counts() -> None:
    """A node that answers before it was expected is delivered, and later not waited for."""
    run = start({A: "node@a"})
    feed(run, Subscribed(A))
    assert run.handle(LaneUp(A), 0.0) == [Publish()]
    assert run.handle(Answered(B, "node@b", 2), 0.1) == [Deliver(B, "node@b", 2)]
    feed(run, Expected(B, "node@b"), now=0.1)
    assert run.handle(Answered(A, "node@a", 1), 0.2) == [Deliver(A, "node@a", 1), Finish({})]


def test_a_restarted_node_is_not_missed_under_its_old_id() -> None:
    """When NAME@HOST has answered under a new node id, it is not among the missing."""
    run = start({A: "node@a"})
    feed(run, Subscribed(A))
    assert run.handle(LaneUp(A), 0.0) == [Publish()]
    assert run.handle(Answered(B, "node@a", 2), 0.1) == [Deliver(B, "node@a", 2)]
    assert run.tick(1.0) == [Finish({})]


def test_the_table_of_nodes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Node ids beyond the bound are ignored; those known already go on."""
    monkeypatch.setattr(module, "_MAX_NODES", 2)
    run = start({A: "node@a"})
    feed(run, Subscribed(B), Expected(C, "node@c"), Answered(C, "node@c", 3), Subscribed(A))
    assert run.handle(LaneUp(A), 0.0) == [Publish()]
    assert run.handle(Answered(A, "node@a", 1), 0.1) == [Deliver(A, "node@a", 1), Finish({})]


def test_who_has_still_to_answer_is_known_all_along() -> None:
    """Whoever ends a command before its time can say who is missing."""
    run = start(NAMES)
    assert run.silent == ["node@a", "node@b"]
    feed(run, *ready(A), LaneUp(B))
    assert run.handle(Subscribed(B), 0.0) == [Publish()]
    assert run.handle(Answered(A, "node@a", 1), 0.1) == [Deliver(A, "node@a", 1)]
    assert run.silent == ["node@b"]


def test_who_turns_out_to_have_ended_is_excused() -> None:
    """A node that was only named, and is no more, holds up nothing."""
    run = start(NAMES)
    feed(run, *ready(A))
    assert run.handle(Excused(B), 0.1) == [Publish()]
    assert run.handle(Answered(A, "node@a", 1), 0.1) == [Deliver(A, "node@a", 1), Finish({})]


def test_who_is_excused_after_the_publishing_ends_the_command() -> None:
    """It was not reached, so nothing is to be expected of it; nor when the last one is excused."""
    run = start(NAMES)
    feed(run, *ready(A))
    assert run.handle(LaneProblem(B, UNREACHABLE), 0.1) == [Publish()]
    assert run.handle(Answered(A, "node@a", 1), 0.1) == [Deliver(A, "node@a", 1)]
    assert run.handle(Excused(B), 0.2) == [Finish({})]
    alone = start({A: "node@a"})
    assert alone.handle(Excused(A), 0.1) == [Finish({})]


def test_who_was_sent_the_command_is_not_excused() -> None:
    """It may have carried it out before it ended; and who has answered has done so."""
    run = start(NAMES)
    feed(run, *ready(A), Subscribed(B))
    assert run.handle(LaneUp(B), 0.0) == [Publish()]
    feed(run, Excused(A), LaneProblem(A, UNREACHABLE), now=0.1)
    assert run.handle(Answered(B, "node@b", 1), 0.2) == [Deliver(B, "node@b", 1)]
    feed(run, Excused(B), Excused(C), now=0.3)
    assert run.tick(1.0) == [Finish({"node@a": UNREACHABLE})]


def test_who_had_said_that_it_would_end_is_excused_in_any_case() -> None:
    """Nothing is left there that the command could have missed."""
    run = start(NAMES)
    feed(run, *ready(A), Subscribed(B))
    assert run.handle(LaneUp(B), 0.0) == [Publish()]
    assert run.handle(Answered(A, "node@a", 1), 0.1) == [Deliver(A, "node@a", 1)]
    feed(run, Excused(A, left=True), now=0.1)
    assert run.handle(Excused(B, left=True), 0.1) == [Finish({})]


def test_who_is_gone_after_a_command_that_ends_nodes_is_missing_without_a_reply() -> None:
    """Its goodbye is no reply; only whom the command did not reach is excused."""
    run = start({**NAMES, C: "node@c"}, ends=True)
    feed(run, *ready(A, B))
    assert run.handle(LaneProblem(C, UNREACHABLE), 0.0) == [Publish()]
    feed(run, Excused(C, left=True), LaneProblem(A, UNREACHABLE), Excused(A, left=True), now=0.1)
    assert run.handle(Answered(B, "node@b", 1), 0.1) == [Deliver(B, "node@b", 1)]
    feed(run, Excused(B, left=True), now=0.2)
    assert run.tick(1.0) == [Finish({"node@a": UNREACHABLE})]


def test_who_is_excused_may_be_expected_again() -> None:
    """It was announced anew."""
    run = start({A: "node@a"}, gather=True)
    feed(run, Excused(A), Expected(A, "node@a"), Subscribed(A), now=0.1)
    assert run.handle(LaneUp(A), 0.1) == [Publish()]
