"""What is wanted back from a node that drains."""

from __future__ import annotations

from holder_conversation import OWN, SHORT_S, A, Conversation, recalled, submit, task, to, withdraw

from meshq.core.holding import DrainAsked, EntrustedHandedOver, GraceOver
from meshq.protocol.messages import Bye, Nack, Withdrawn


def test_a_task_that_a_peer_has_taken_over_cannot_be_withdrawn() -> None:
    """It runs, or will; the node knows no more of it."""
    talk = Conversation(clients=(A, OWN))
    talk.do_quietly(A, submit(1, detached=True))
    talk.pass_time(10.0)
    talk.do(DrainAsked())
    talk.do(EntrustedHandedOver(A, task(1)))
    talk.say(A, withdraw(1), to(A, Withdrawn(task(1), 1, "running")))


def test_what_a_worker_gives_back_after_the_grace_goes_elsewhere() -> None:
    """Or nowhere, where its client has left."""
    for leaves in (False, True):
        talk = Conversation()
        n = talk.teach("f", SHORT_S)
        talk.do_quietly(A, submit(1), submit(2))
        talk.do(DrainAsked())
        talk.do(GraceOver(frozenset()))
        if leaves:
            talk.do_quietly(A, Bye())
        (*said,) = talk.do(recalled([n + 1], [n + 1]))
        why = "the node finishes what it has and takes nothing new"
        assert said == ([] if leaves else [to(A, Nack(task(2), 1, "draining", why))])
