"""The options of a task: what ``@task`` and ``.options`` take, checked where they are written."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from meshq.errors import ConfigError
from meshq.ids import format_id, parse_task_id
from meshq.tasks.names import check_function_name, module_name

if TYPE_CHECKING:
    from typing import Literal, TypedDict

    class ApplyOptionTypes(TypedDict, total=False):
        """The options that mean the same for a function and for one call."""

        soft_time_limit: float | None
        time_limit: float | None
        rate_limit: float | str | None
        max_retries: int | None
        retry_for: type[Exception] | Collection[type[Exception]]
        retry_backoff: float | None
        retry_jitter: bool
        priority: int | None
        tags: Collection[str]
        delivery: Literal["at-least-once", "at-most-once"]
        ignore_result: bool
        serializer: str | None

    class FunctionOptionTypes(ApplyOptionTypes, total=False):
        """The options of ``@task``, ``name`` and ``bind`` excepted."""

        expires: float | None

    class CallOptionTypes(FunctionOptionTypes, total=False):
        """The options of ``.options``."""

        countdown: float | None
        task_id: str | uuid.UUID | None
        idempotency_key: str | None


DELIVERIES = ("at-least-once", "at-most-once")
PRIORITIES = range(10)
MAX_TAGS = 16
"""As many as a call may ask its node for."""
MAX_TYPES = 16
"""Types in ``retry_for``: they travel with calls that have them otherwise than the function."""
LONGEST_KEY = 1_000
_LARGEST = sys.float_info.max
"""A whole number beyond is no float any more."""
_UNIT_S = {"s": 1, "m": 60, "h": 3600}
_PER_CALL = ("countdown", "task_id", "idempotency_key")
_NOT_SENT = ("name", "bind", "task_id", "idempotency_key", "overrides")
_KNOWN_TO_NODES = (
    "soft_time_limit", "time_limit", "rate_limit", "ignore_result",
    "max_retries", "retry_for", "retry_backoff", "retry_jitter", "delivery",
)  # fmt: skip
"""What nodes know of a function themselves, so that calls need to say it only where they differ."""


class TaskOptions(NamedTuple):
    """The options of a task function, or of one call. Durations are in seconds; None means "not set"."""

    # A named tuple, as a frozen dataclass would cost each worker's start the import of inspect.
    name: str | None = None
    bind: bool = False
    soft_time_limit: float | None = None
    time_limit: float | None = None
    rate_limit: float | str | None = None
    """Per node: N, "N/s", "N/m" or "N/h"."""
    max_retries: int | None = None
    """Without it 3, for what ``retry_for`` names and for ``Retry``."""
    retry_for: tuple[type[Exception], ...] = ()
    retry_backoff: float = 1.0
    """The first pause; doubled each time, up to 600 s."""
    retry_jitter: bool = True
    """Whether pauses are cut at random, to half of their length at least."""
    priority: int | None = None
    """0 to 9; the highest goes first."""
    expires: float | None = None
    countdown: float | None = None
    tags: tuple[str, ...] = ()
    """The node must have all of these."""
    delivery: str = "at-least-once"
    ignore_result: bool = False
    serializer: str | None = None
    task_id: str | None = None
    idempotency_key: str | None = None
    """Calls of a function with the same key are one task."""
    overrides: tuple[str, ...] = ()
    """No option: which of those that nodes know of the function are given for this call."""

    def changed(self, changes: Mapping[str, Any]) -> TaskOptions:
        """Return a checked copy with ``changes``; raises ``ConfigError`` naming the option that is wrong."""
        if not changes:
            return self  # so that what nobody has given options is known at a glance
        unknown = [key for key in changes if key not in _READERS]
        if unknown:
            raise ConfigError(f"there is no task option {unknown[0]!r}; the options are {', '.join(_READERS)}")
        checked = {key: _read(key, value) for key, value in changes.items()}
        options = self._replace(**checked)
        soft, hard = options.soft_time_limit, options.time_limit
        if soft is not None and hard is not None and soft > hard:
            raise ConfigError(
                f"task option soft_time_limit ({soft:g} s) must not be above time_limit ({hard:g} s)"
            )
        if options.task_id is not None and options.idempotency_key is not None:
            raise ConfigError("task options task_id and idempotency_key exclude each other: the key makes the id")
        countdown, expires = options.countdown, options.expires
        if countdown is not None and expires is not None and countdown > 0 and expires <= countdown:
            raise ConfigError(
                f"task option expires ({expires:g} s) must be above countdown ({countdown:g} s): "
                "the task would expire before it may start"
            )
        return options

    def for_calls(self) -> TaskOptions:
        """Return this, or ``PLAIN`` itself where it says nothing that a call has to know."""
        return PLAIN if self._replace(name=None, bind=False) == PLAIN else self

    def is_plain_but_for(self, *keys: str) -> bool:
        """Return whether nothing is said but of these options."""
        return self is PLAIN or self._replace(**{key: getattr(PLAIN, key) for key in keys}) == PLAIN

    def compared_to(self, declared: TaskOptions, named: Collection[str] = ()) -> TaskOptions:
        """Return a copy for one call that knows what is not left to ``@task`` and to control commands.

        That is what differs from what ``@task`` ``declared``, and what was ``named`` for the call and is set.
        """
        given = {*named, *self.overrides}
        theirs = (
            key
            for key in _KNOWN_TO_NODES
            if (value := getattr(self, key)) != getattr(declared, key)
            or (key in given and (value != getattr(PLAIN, key) or key == "delivery"))
        )
        return self._replace(overrides=tuple(theirs))

    def to_wire(self) -> dict[str, Any]:
        """Return what differs from the defaults, of what concerns a node, in types that msgpack has."""
        wire: dict[str, Any] = {
            key: value
            for key, value, default in zip(self._fields, self, PLAIN, strict=True)
            if value != default and key not in _NOT_SENT
        }
        if self.tags:
            wire["tags"] = list(self.tags)
        if self.retry_for:
            wire["retry_for"] = names_of_types(self.retry_for)
        return wire


PLAIN = TaskOptions()
"""The options of a function that nobody has given any."""


def names_of_types(types: Iterable[type]) -> list[str]:
    """Return the full names of types, by which workers know them; those of a script as nodes call its module."""
    return [f"{module_name(cls.__module__, cls)}.{cls.__qualname__}" for cls in types]


def options_of_function(changes: Mapping[str, Any]) -> TaskOptions:
    """Return the options given to ``@task``; those that fit one call only are refused."""
    for key in _PER_CALL:
        if changes.get(key) is not None:
            raise ConfigError(f"task option {key} is for one call: give it with .options({key}=…), not with @task")
    return PLAIN.changed(changes)


def parse_rate(rate: object) -> float:
    """Return a rate, N or "N/s", "N/m", "N/h", in tasks a second; 0: no limit. Raises ``ConfigError``."""
    number, slash, unit = str(rate).partition("/")
    try:
        tasks, unit_s = float(number), _UNIT_S[unit.strip() if slash else "s"]
    except (ValueError, KeyError):
        tasks, unit_s = -1.0, 1
    if not 0 <= tasks < float("inf"):
        raise ConfigError(f"{rate!r} is not a rate: give N, 'N/s', 'N/m' or 'N/h', with N 0 or more")
    return tasks / unit_s


def _read(key: str, value: Any) -> Any:
    if value is None:
        return PLAIN[PLAIN._fields.index(key)]
    try:
        return _READERS[key](value)
    except ConfigError as error:
        raise ConfigError(f"task option {key}: {error}") from None
    except ValueError as error:
        raise ConfigError(f"task option {key} must be {error} (got {value!r})") from None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _seconds(value: Any) -> float:
    if not _is_number(value) or not 0 < value <= _LARGEST:
        raise ValueError("a number of seconds above 0")
    return float(value)


def _delay(value: Any) -> float:
    if not _is_number(value) or not 0 <= value <= _LARGEST:
        raise ValueError("a number of seconds, 0 or more")
    return float(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value


def _rate(value: Any) -> float | str:
    parse_rate(value)
    return value if isinstance(value, int | float | str) else float(value)  # such as a Decimal


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("a whole number, 0 or more")
    return value


def _priority(value: Any) -> int:
    if isinstance(value, bool) or value not in PRIORITIES:
        raise ValueError("a whole number from 0 to 9")
    return int(value)


def _exceptions(value: Any) -> tuple[type[Exception], ...]:
    classes = tuple(value) if isinstance(value, list | tuple | set | frozenset) else (value,)
    fit = all(isinstance(cls, type) and issubclass(cls, Exception) for cls in classes)
    if not fit or len(classes) > MAX_TYPES:
        raise ValueError(f"exception classes, at most {MAX_TYPES}")
    return classes


def _tags(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(t, str) and t for t in value):
        raise ValueError('a set of strings, such as {"gpu"}')
    if not all(map(_is_text, value)):
        raise ValueError("strings without lone surrogates, which cannot travel")
    if len(set(value)) > MAX_TAGS:
        raise ValueError(f"at most {MAX_TAGS} strings")
    return tuple(sorted(set(value)))


def _delivery(value: Any) -> str:
    if value not in DELIVERIES:
        raise ValueError(" or ".join(map(repr, DELIVERIES)))
    return str(value)


def _key(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_KEY:
        raise ValueError(f"a text of 1 to {LONGEST_KEY} characters")
    if not _is_text(value):
        raise ValueError("a text without lone surrogates, which cannot travel")
    return value


def _is_text(value: str) -> bool:
    """Whether it can be written as UTF-8: Python's strings may hold halves of characters, which cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _word(value: Any) -> str:
    if not isinstance(value, str) or not value.isidentifier():
        raise ValueError("the name of a serializer, such as 'msgpack'")
    return value


_READERS: dict[str, Callable[[Any], Any]] = {
    "name": check_function_name,
    "bind": _flag,
    "soft_time_limit": _seconds,
    "time_limit": _seconds,
    "rate_limit": _rate,
    "max_retries": _whole,
    "retry_for": _exceptions,
    "retry_backoff": _delay,
    "retry_jitter": _flag,
    "priority": _priority,
    "expires": _delay,
    "countdown": _delay,
    "tags": _tags,
    "delivery": _delivery,
    "ignore_result": _flag,
    "serializer": _word,
    "idempotency_key": _key,
    "task_id": lambda value: format_id(parse_task_id(value)),
}
