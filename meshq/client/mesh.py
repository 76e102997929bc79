"""The mesh in a program: submit, map, and the functions that work on it as a whole."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import BuiltinFunctionType, FunctionType
from typing import Any, TypeVar

from meshq.client import mapping
from meshq.client.base import BaseMesh
from meshq.client.books import size_of
from meshq.client.calls import check_serializer, make_future, make_plain_future
from meshq.client.deadlines import Deadlines
from meshq.client.fanning import Fan, check_calls
from meshq.client.future import Future
from meshq.client.portions import Calls
from meshq.client.result import AsyncResult
from meshq.client.runtime import client_settings
from meshq.client.shipping import NO_KEY, Shipping
from meshq.errors import ConfigError, NoNodes, QueueFull
from meshq.ids import parse_task_id
from meshq.tasks import (
    SHIPPED,
    AsyncTaskFunction,
    NamelessFunction,
    TaskFunction,
    function_name,
    normalise_name,
    shipped,
)
from meshq.tasks.options import PLAIN, TaskOptions

T = TypeVar("T")
_Callee = tuple[str, TaskOptions, tuple[Any, ...]]
_KEPT_CALLEES = frozenset({TaskFunction, AsyncTaskFunction, FunctionType, BuiltinFunctionType, str})
"""What is the same function, under the same name, each time it is submitted."""
_MAX_CALLEES = 1_000
_LEAST_S = 0.001
"""What is left of a timeout when it is over; a control command takes none of 0."""


class Mesh(BaseMesh):
    """The nodes of one mesh, as seen from this program, and the tasks that it submits to them.

    ``name`` is the mesh's name, ``key`` the path of its key file, ``peers`` addresses (``tcp://host:port``) to
    try besides those found by mDNS; ``insecure`` allows nodes without a key on other hosts. What is not given
    comes from ``MESHQ_*``, ``meshq.toml`` or the defaults. Unfinished tasks take up ``outbox_bytes`` at most, a
    number or a text such as ``"256MiB"``; past that submissions wait for room, or raise ``QueueFull`` with
    ``block=False``. One task of any size may always be submitted. Safe to use from several threads. Raises
    ``ConfigError``.

    As a context manager it waits for its futures on leaving; on an exception it withdraws what is queued.
    """

    def __init__(
        self,
        name: str | None = None,
        key: str | os.PathLike[str] | None = None,
        peers: Iterable[str] = (),
        *,
        insecure: bool | None = None,
        outbox_bytes: int | str | None = None,
        block: bool = True,
        role: str = "client",
    ) -> None:
        if not isinstance(block, bool):
            raise ConfigError(f"block must be True or False (got {block!r})")
        given = peers if isinstance(peers, str) else tuple(peers)
        super().__init__(client_settings(name, key, given, insecure, outbox_bytes), role)  # type: ignore[arg-type]
        self._block = block
        self._deadlines = Deadlines(self._runtime.loop, self._runtime.parts)
        self._shipping = Shipping(self, self._wait, self._runtime.key is not None)
        self._callees: dict[Any, _Callee] = {}
        """What ``_callee`` has found, as it takes longer than all else that ``submit`` does."""

    # ------------------------------------------------------------------ submit

    def submit(self, function: Callable[..., T] | str, /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``function(*args, **kwargs)`` on a node; return its future.

        ``function`` is a task function, any function that the nodes offer, or its name. It never waits for a
        node, only for room in the outbox, and in a burst up to 5 ms for earlier tasks to be sent. Raises
        ``EncodingError`` for arguments that cannot travel.

        A function without a name of its own (lambdas, nested ones, partials, methods, those of the prompt) goes as
        a pickle, if a node takes these; whether one does is waited for, for at most 3 s. Else ``EncodingError``.
        """
        name, options, head = self._callee(function)
        return self._submit(name, head + args, kwargs, options)

    def submit_call(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: TaskOptions
    ) -> Future[Any]:
        """Submit a call by name. ``submit`` is what programs call."""
        return self._submit(name, args, kwargs, options)

    def delay(self, function: Callable[..., T] | str, /, *args: Any, **kwargs: Any) -> AsyncResult[T]:
        """Run ``function(*args, **kwargs)`` detached: the node that accepts it owns the task from then on."""
        name, options, head = self._callee(function)
        return self.submit_detached(name, head + args, kwargs, options)

    def submit_detached(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: TaskOptions
    ) -> AsyncResult[Any]:
        """Submit a call by name, detached. ``delay`` is what programs call."""
        future = self._submit(name, args, kwargs, options, detached=True)
        return AsyncResult(future.task_id, self, future)

    def execute_remote(self, func: Callable[..., T] | str, /, *args: Any, **kwargs: Any) -> AsyncResult[T]:
        """Run any importable function or object with these arguments, detached as ``delay`` does.

        It travels by its name, so the nodes must offer it (``meshq node MODULE``, ``--allow MODULE``). What has no
        name of its own (lambdas, partials, methods, functions of the prompt) raises ``EncodingError``, unless
        there are nodes that take pickles (``--allow-pickle``); see ``submit``.
        """
        return self.delay(func, *args, **kwargs)

    def map(
        self,
        function: Callable[..., T] | str,
        /,
        *iterables: Iterable[Any],
        chunksize: int | None = None,
        timeout: float | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> Iterator[T]:
        """Yield ``function`` of each tuple of items, as the built-in ``map``.

        Items are taken from the iterables as results are consumed. With ``ordered=False`` results come as they
        finish. ``chunksize`` items travel as one task; with None those of a function that turns out to be cheap
        travel together, as many as take some 5 ms. ``timeout`` is in seconds for all of them together.
        With ``return_exceptions`` an item's exception is yielded in its place, else it is raised, and what is
        unfinished is withdrawn.
        """
        mapping.check(chunksize, timeout)
        if not iterables:
            raise ConfigError("map needs at least one iterable beside the function")
        name, options, head = self._callee(function)
        mapping.check_keyless("map", options)
        if chunksize is not None and chunksize > 1 and options.serializer == "raw":
            raise ConfigError(
                "map cannot chunk calls with the serializer raw, which carries one value: leave chunksize"
            )
        if chunksize is None and not options.is_plain_but_for("tags", "ignore_result"):
            chunksize = 1  # what is said of each call would hold for many together
        return mapping.Mapping(
            self,
            lambda args, chunk: self._submit(name, args, {}, options, chunk=chunk),
            self.withdraw_soon,
            lambda: self._runtime.engine.slots,
            Calls(head, iterables),
            chunksize=chunksize,
            ordered=ordered,
            return_exceptions=return_exceptions,
            timeout=timeout,
        ).results()

    def dmap(
        self, func: Callable[..., T] | str, args: Iterable[Sequence[Any]], timeout: float | None = None
    ) -> list[T]:
        """Return ``[func(*arg) for arg in args]``, each call being a task; ``timeout`` is in seconds for all.

        The first failure that is known is raised, or ``TimeoutError``; what has not started then is withdrawn.
        """
        fan = self._fan_out(func, args, timeout)
        try:
            return fan.result()
        except BaseException as error:
            fan.give_up(error)  # such as Ctrl-C; whatever it has failed of has ended it already
            raise

    def dmap_async(
        self, func: Callable[..., T] | str, args: Iterable[Sequence[Any]], timeout: float | None = None
    ) -> AsyncResult[list[T]]:
        """Begin what ``dmap`` does, and return its ``AsyncResult`` at once.

        The tasks belong to this process, which answers for the result; none waits in a slot for the others.
        """
        fan = self._fan_out(func, args, timeout)
        self._books.note(fan)
        return AsyncResult(fan.task_id, self, fan)

    def _fan_out(
        self, func: Callable[..., T] | str, args: Iterable[Sequence[Any]], timeout: float | None
    ) -> Fan[T]:
        mapping.check(None, timeout)
        end_at = None if timeout is None else time.monotonic() + timeout
        calls = check_calls(args)
        name, options, head = self._callee(func)
        mapping.check_keyless("dmap", options)
        members: list[Future[T]] = []
        try:
            for call in calls:
                members.append(self._submit(name, head + call, {}, options))
        except BaseException:
            self.withdraw_soon(members)
            raise
        fan = Fan(members, self)
        fan.watch()
        if end_at is not None:
            self._deadlines.add(end_at, fan.time_out)
            fan.add_done_callback(lambda _: self._deadlines.drop(fan.time_out))
        return fan

    def _submit(
        self,
        name: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: TaskOptions,
        detached: bool = False,
        chunk: bool | str | None = None,
    ) -> Future[Any]:
        self._runtime.check_usable()
        engine = self._runtime.engine
        if len(engine.inbox) >= engine.wait_from and not self._runtime.in_loop():
            engine.wait_until_taken()
        if options is PLAIN and not detached and chunk is None:
            future = make_plain_future(self, name, args, kwargs)
        else:
            if options.serializer == "pickle" and self._runtime.key is None:
                raise ConfigError(f"the serializer pickle is for meshes with a key, and {NO_KEY}: meshq key new")
            future = make_future(self, name, args, kwargs, options, detached=detached, chunk=chunk)
        size = size_of(future)
        if self._books.bytes + size > self._settings.outbox_bytes:
            self._wait_for_room(size)
        try:
            opened = self._books.open(future, size)
            if opened is not future:
                return opened  # an earlier call with the same key
            engine.submit(future)
        except BaseException:  # what a signal's handler has raised, in the midst of this
            if not engine.has(future):
                self._books.take_back(future, size)  # or closing would wait for what nobody sends
            raise
        if self._runtime.stopping:  # by another thread meanwhile, which may have looked before it was there
            self.on_stopped()
        return future

    def _callee(self, function: Callable[..., Any] | str) -> _Callee:
        """Return the name by which nodes know the function, its options, and what goes before its arguments."""
        if type(function) not in _KEPT_CALLEES:
            return self._find_callee(function)
        callee = self._callees.get(function)
        if callee is None:
            callee = self._find_callee(function)
            if callee[0] != SHIPPED:  # for which there may be no node the next time
                if len(self._callees) >= _MAX_CALLEES:
                    self._callees.clear()
                self._callees[function] = callee
        return callee

    def _find_callee(self, function: Callable[..., Any] | str) -> _Callee:
        if isinstance(function, TaskFunction):
            if not self._sources.knows(function.name):
                self._sources.learn(function.name, function.function)
                self._runtime.loop.post(self._compare_sources)
            return function.name, function.call_settings, ()
        try:
            name = normalise_name(function) if isinstance(function, str) else function_name(function)
            return name, PLAIN, ()
        except NamelessFunction as error:
            self._runtime.check_usable()
            self._shipping.check(error)
            return SHIPPED, shipped.call_settings, (function,)

    def _wait_for_room(self, size: int) -> None:
        """Wait while the outbox is full; an empty one takes a task of any size."""
        if not self._books.bytes:
            return
        if not self._block:
            raise QueueFull(
                f"the outbox holds {self._books.bytes} bytes of unfinished tasks, and takes "
                f"{self._settings.outbox_bytes} (outbox_bytes): try again when some have finished"
            )
        if self._runtime.in_loop():
            raise QueueFull("the outbox is full, and a callback must not wait for it")
        while self._books.bytes and self._books.bytes + size > self._settings.outbox_bytes:
            self._wait_for_change(0.05)
            self._runtime.check_usable()

    # ------------------------------------------------------------------ the mesh as a whole

    def result(self, task_id: str | uuid.UUID) -> AsyncResult[Any]:
        """Return the ``AsyncResult`` of a task by its id, whichever process has submitted it."""
        return AsyncResult(task_id, self)

    def attach(self, task_id: str | bytes | uuid.UUID, *, serializer: str = "") -> Future[Any]:
        """Return the future of a task that another process has submitted: one that ended, crashed, or still lives.

        It ends as the task does; with ``ResultGone`` where no node knows the task for a second or two, or its
        result is not kept; with ``TaskLost`` or ``WorkerLost`` where nobody is seen to try again what was lost
        with its node or worker; with ``NoNodes`` where none answers. Of a task of this mesh that is unfinished,
        detached or has an idempotency key it is its own future.

        A result that is a pickle is loaded only with ``serializer="pickle"``. ``cancel`` revokes the task unless
        it runs. While somebody waits for a task, nodes keep what its vanished client has left with them. Raises
        ``ConfigError`` for what is no task id, and for a serializer that there is not.
        """
        id = parse_task_id(task_id)
        check_serializer(serializer)
        self._runtime.check_usable()
        own = self._books.find(id) or self._books.find_ended(id)
        if own is not None:
            return own
        future = self._open_attaching().attach(id, serializer)
        if not self._runtime.is_usable:  # by another thread meanwhile, which may have looked before it was there
            self.on_stopped()
        return future

    def is_done(self, task_id: str | uuid.UUID) -> bool:
        """Return whether the task is DONE: it has returned. False for one that failed, and for an unknown one.

        Of a task that was submitted elsewhere the nodes are asked. Raises ``ConfigError`` for what is no task id.
        """
        return self.result(task_id).status == "DONE"

    def discard_all(self, connect_timeout: float = 4.0) -> int:
        """Discard all tasks of the mesh that wait, whoever has submitted them; return how many there were.

        Raises ``NoNodes`` where none is found within ``connect_timeout`` seconds. See ``Control.purge``.
        """
        mapping.check_seconds("connect_timeout", connect_timeout)
        self.wait_for_nodes(1, connect_timeout)
        return self.control.purge()

    def ping(self, timeout: float = 5.0) -> str:
        """Return "pong" as soon as one node answers, however busy; ``NoNodes`` after ``timeout`` seconds."""
        mapping.check_seconds("timeout", timeout)
        end_at = time.monotonic() + timeout
        self.wait_for_nodes(1, timeout)
        left = max(end_at - time.monotonic(), _LEAST_S)
        replies = self.control.ping(timeout=left, limit=1)
        if not replies:
            silent = "; ".join(f"{name}: {why}" for name, why in replies.missing.items())
            raise NoNodes(f"no node answered in {timeout:g} s: {silent or self.explain_absence()}")
        return "pong"
