"""What a node says of its holder when it is asked: limits in force, runs counted, results let go of."""

from __future__ import annotations

from holder_conversation import A, Conversation, done, rack, submit, task

from meshq.core.holding import RateLimitSet, RevokeAsked, TimeLimitSet
from meshq.protocol.messages import Status


def test_the_limits_in_force_are_told() -> None:
    """None at first, then those that a command has set."""
    talk = Conversation()
    assert talk.holder.limits_of("f") == (0.0, None, None)
    talk.do(RateLimitSet("f", 2.0))
    talk.do(TimeLimitSet("f", 1.0, 3.0))
    assert talk.holder.limits_of("f") == (2.0, 1.0, 3.0)
    assert talk.holder.limits_of("g") == (0.0, None, None)


def test_runs_are_counted_by_function() -> None:
    """Those that workers have brought to their end, and how many of them have failed."""
    talk = Conversation()
    for number, status in enumerate((Status.OK, Status.FAILURE, Status.OK), 1):
        talk.do_quietly(A, submit(number))
        talk.do(done(number, status=status))
    assert talk.holder.totals() == ({"f": 3}, {"f": 1})


def test_a_result_is_kept_until_it_is_forgotten() -> None:
    """The answer is whether there was one."""
    talk = Conversation()
    talk.do_quietly(A, submit(1))
    talk.do(done(1))
    talk.do_quietly(A, rack(1))
    assert talk.holder.survey.result(task(1), talk.now) is not None
    assert talk.holder.forget(task(1))
    assert not talk.holder.forget(task(1))
    assert talk.holder.survey.result(task(1), talk.now) is None


def test_what_is_refused_is_told() -> None:
    """Each id with the time for which that is so, and a digest that is another for other ids."""
    talk = Conversation()
    before = talk.holder.revoked_digest(talk.now)
    talk.do(RevokeAsked("token", [task(1)], 0))
    assert [left for left, _ in talk.holder.revoked(talk.now)] == [task(1)]
    assert talk.holder.revoked_digest(talk.now) != before
