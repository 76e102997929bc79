"""Every error that meshq raises.

MeshqError
├── ConfigError            a setting, flag, file or argument is wrong (also a ValueError)
├── ProtocolError
│   ├── LocalProtocolError     our side broke the rules of the wire
│   └── RemoteProtocolError    the other side did
├── AuthenticationError    the key is missing, or is another one
├── MeshClosed             the mesh was closed, or belongs to the parent of a fork (also a RuntimeError)
├── NoNodes                no node was seen in time
├── UnknownTask            no node offers this function
├── QueueFull              the outbox has reached its budget
├── ResultGone             the result is no longer kept, or nobody knows the task
├── EncodingError          a value does not fit the serializer (also a TypeError)
└── TaskError              what became of one task
    ├── TaskRevoked
    ├── TaskExpired
    ├── TaskLost           .maybe_executed
    ├── WorkerLost         the worker died under it (also a BrokenExecutor)
    ├── SoftTimeLimitExceeded
    ├── TimeLimitExceeded
    ├── ChunkRefused       calls that map has put together are to be tasks of their own; map sees to it
    ├── Retry              raised inside a task, which is to be tried again: .delay
    └── RemoteError        raised remotely, of a type that is not known here
"""

from __future__ import annotations

from concurrent.futures import BrokenExecutor

LONGEST_DELAY_S = 1e9
"""Longer than any process lives."""


class MeshqError(Exception):
    """The root of all errors of meshq."""


class ConfigError(MeshqError, ValueError):
    """A setting is wrong; the message names the setting, where it came from and what to do."""


class ProtocolError(MeshqError):
    """The rules of the wire were broken."""


class LocalProtocolError(ProtocolError):
    """This side tried to send what the wire does not allow."""


class RemoteProtocolError(ProtocolError):
    """The other side sent what the wire does not allow."""


class AuthenticationError(MeshqError):
    """The mesh refuses this key, or wants one."""


class MeshClosed(MeshqError, RuntimeError):
    """The mesh can no longer be used from here: it was closed, or it was made before a fork."""


class NoNodes(MeshqError):
    """No node of the mesh was seen within the time allowed."""


class UnknownTask(MeshqError):
    """No node of the mesh offers the function that was called."""


class QueueFull(MeshqError):
    """The outbox holds as many bytes as it may."""


class ResultGone(MeshqError):
    """The task has ended and its result is no longer kept, or nobody who answers knows the task."""


class EncodingError(MeshqError, TypeError):
    """A value cannot travel with the serializer in use; the message names the value's path and type."""


class TaskError(MeshqError):
    """What became of one task, other than a result."""


class TaskRevoked(TaskError):
    """The task was revoked before it finished."""


class TaskExpired(TaskError):
    """The task was not started before it expired."""


class TaskLost(TaskError):
    """The task can be neither finished nor tried again.

    ``maybe_executed`` is True where it may have run, wholly or in part.
    """

    def __init__(self, message: str = "the task was lost", *, maybe_executed: bool = True) -> None:
        super().__init__(message)
        self.maybe_executed = maybe_executed


class WorkerLost(TaskError, BrokenExecutor):
    """The worker process died while it ran the task, as often as the task may try."""


class SoftTimeLimitExceeded(TaskError):
    """Raised inside a task that has run past its soft time limit."""


class TimeLimitExceeded(TaskError):
    """The task ran past its hard time limit, and its worker was killed."""


class ChunkRefused(TaskError):
    """The calls of a chunk that ``map`` has made up are to be tasks of their own; ``map`` sees to that."""


class Retry(TaskError):
    """Raise it inside a task to have it tried again, in ``delay`` seconds (None: as its retries are declared).

    What it was raised from (``raise Retry() from error``) is what the task fails with once it has had all the
    retries that it may have; else it fails with this.
    """

    def __init__(self, message: str = "the task asks to be tried again", *, delay: float | None = None) -> None:
        is_number = isinstance(delay, int | float) and not isinstance(delay, bool)
        if delay is not None and not (is_number and 0 <= delay <= LONGEST_DELAY_S):
            raise ConfigError(f"Retry: delay must be a number of seconds, 0 or more, or None (got {delay!r})")
        super().__init__(message)
        self.delay = delay


class RemoteError(TaskError):
    """A task raised an exception whose type is not known in this process.

    ``type_name`` is the full name of that type; ``remote_traceback`` is the text of the traceback.
    """

    def __init__(self, message: str, *, type_name: str = "", remote_traceback: str = "") -> None:
        super().__init__(message)
        self.type_name = type_name
        self.remote_traceback = remote_traceback
