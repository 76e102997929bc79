"""Exceptions as data: a failure's type, message, arguments and traceback, never a pickle.

A failure is a msgpack map. Whoever receives it looks the type up among the modules that it has imported
already, and imports nothing: a type that is not found there is told by a RemoteError.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import msgpack

from meshq.errors import EncodingError, RemoteError, RemoteProtocolError
from meshq.protocol.codec import serializer
from meshq.protocol.payload import Buffer, Payload, join_payload, payload_size
from meshq.tasks import names

# What one failure may take, so that neither a message of megabytes nor an endless chain fills the wire.
MAX_TRACEBACK_BYTES = 64 * 1024
MAX_MESSAGE_BYTES = 16 * 1024
MAX_NOTE_BYTES = 4 * 1024
MAX_NOTES = 16
MAX_REPR_BYTES = 1024
MAX_VALUES = 64
MAX_VALUES_BYTES = 64 * 1024
"""Of the arguments, and as much again of the attributes."""

FAILURE_SERIALIZER = "msgpack"
"""That in which a failure travels, whatever the task's own."""
_msgpack = serializer(FAILURE_SERIALIZER)


class RemoteTraceback(Exception):
    """The cause of an exception that was raised remotely: the traceback as it was there."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def remote_traceback(error: BaseException) -> str | None:
    """Return the traceback's text of an exception that was raised remotely; None for any other."""
    if isinstance(error.__cause__, RemoteTraceback):
        return error.__cause__.text
    if isinstance(error, RemoteError):
        return error.remote_traceback or None
    return None


def dump_failure(error: BaseException) -> bytes:
    """Return an exception as data of bounded size (some 300 KiB at most).

    Arguments that msgpack does not carry, or not within the bound, are replaced by their reprs.
    """
    args, attributes = _parts(error)
    state = {name: value for name, value in attributes.items() if _is_plain_name(name)}
    packed_args, packed_state = _pack_values(args), _pack_values(tuple(state.values()))
    failure = {
        "module": _clean(str(type(error).__module__), MAX_REPR_BYTES),
        "qualname": _clean(type(error).__qualname__, MAX_REPR_BYTES),
        "message": _clean(_text(str, error), MAX_MESSAGE_BYTES),
        "args": [packed for packed, _ in packed_args],
        "exact": len(packed_args) == len(args) and all(exact for _, exact in packed_args),
        # An attribute's repr would pass for the attribute, so what does not fit stays behind.
        "state": {name: packed for name, (packed, exact) in zip(state, packed_state, strict=False) if exact},
        "traceback": _clean(_format(error), MAX_TRACEBACK_BYTES),
        "notes": _clean_notes(attributes.get("__notes__")),
    }
    data: bytes = msgpack.packb(failure)
    return data


def _parts(error: BaseException) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what the type can be called with, and the attributes: as pickle would take them."""
    try:
        reduced = error.__reduce__()
    except Exception:
        reduced = ""
    made_by_type = isinstance(reduced, tuple) and len(reduced) >= 2 and reduced[0] is type(error)
    args = reduced[1] if made_by_type and isinstance(reduced[1], tuple) else error.args
    state = reduced[2] if made_by_type and len(reduced) > 2 else None
    return args, state if isinstance(state, dict) else vars(error)


def _pack_values(values: tuple[Any, ...]) -> list[tuple[bytes, bool]]:
    """Encode each value, or else its repr (marked False), as many as the bounds allow."""
    room = MAX_VALUES_BYTES
    packed: list[tuple[bytes, bool]] = []
    for value in values[:MAX_VALUES]:
        data, exact = _pack_value(value, room)
        room -= len(data)
        if room < 0:
            break
        packed.append((data, exact))
    return packed


def _pack_value(value: object, room: int) -> tuple[bytes, bool]:
    try:
        payload = _msgpack.encode(value)
        if payload_size(payload) <= room:
            return join_payload(payload), True
    except Exception:  # it does not fit
        pass
    return join_payload(_msgpack.encode(_clean(_text(repr, value), MAX_REPR_BYTES))), False


def _text(convert: Any, value: object) -> str:
    """Return ``str`` or ``repr`` of a value, whose own method may fail."""
    try:
        return str(convert(value))
    except Exception as error:
        return f"<{convert.__name__}() of {type(value).__qualname__} raised {type(error).__qualname__}>"


def _format(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception as failure:
        return f"<the traceback could not be formatted: {type(failure).__qualname__}>\n"


def _clean(text: str, limit: int) -> str:
    """Cut the middle out of a text of more than ``limit`` bytes, and make it encodable."""
    data = text.encode("utf-8", "backslashreplace")
    if len(data) > limit:
        head = limit // 4  # the end is worth more: it says what was raised
        left_out = f"\n[… {len(data) - limit} bytes left out …]\n".encode()
        data = data[:head] + left_out + data[head - limit :]
    return data.decode("utf-8", "ignore")


def _clean_notes(notes: object) -> list[str]:
    if not isinstance(notes, list):
        return []
    return [_clean(_text(str, note), MAX_NOTE_BYTES) for note in notes[:MAX_NOTES]]


def _is_plain_name(name: object) -> bool:
    """Say whether a name may be that of an attribute that travels; Python's own never do."""
    return type(name) is str and name.isidentifier() and not name.startswith("__")


def load_failure(data: Payload | Buffer) -> BaseException:
    """Return the exception of a failure, with its remote traceback as its cause.

    It is of the type that was raised if that is an ``Exception`` of a module imported here, else a
    RemoteError. Raises RemoteProtocolError, and nothing else, where the data is malformed.
    """
    failure = _read(data)
    cls = _find_type(failure["module"], failure["qualname"])
    error = None if cls is None else _rebuild(cls, failure)
    if error is None:
        error = _remote_error(failure)
    error.__cause__ = RemoteTraceback(failure["traceback"])
    return error


_SHAPE = {
    "module": str, "qualname": str, "message": str, "args": list, "exact": bool, "state": dict,
    "traceback": str, "notes": list,
}  # fmt: skip


def _read(data: Payload | Buffer) -> dict[str, Any]:
    failure = _msgpack.loads(data)
    if type(failure) is not dict or any(type(failure.get(key)) is not kind for key, kind in _SHAPE.items()):
        raise RemoteProtocolError("a failure is not a map of the right shape")
    notes_fit = all(type(note) is str for note in failure["notes"])
    if not notes_fit or not all(map(_is_plain_name, failure["state"])):
        raise RemoteProtocolError("a failure has notes that are not text, or attributes of Python's own")
    failure["args"] = tuple(_loads_each(failure["args"]))
    failure["state"] = dict(zip(failure["state"], _loads_each(failure["state"].values()), strict=True))
    return failure


def _loads_each(values: Iterable[Any]) -> list[Any]:
    return [_load_value(value) for value in values]


def _load_value(value: object) -> Any:
    if type(value) is not bytes:
        raise RemoteProtocolError("a failure has a value that is not encoded")
    try:
        return _msgpack.loads(value)
    except EncodingError as error:  # it takes a package that is missing here
        return f"<{error}>"


def _find_type(module_name: str, qualname: str) -> type[Exception] | None:
    """Find an exception type in an imported module; no module's own ``__getattr__`` is asked."""
    found: object = _find_module(module_name)
    for name in qualname.split("."):
        if not isinstance(found, ModuleType | type):
            return None
        # A lazy module loads itself when its own lookup is asked; object's does not wake it.
        space = object.__getattribute__(found, "__dict__") if isinstance(found, ModuleType) else vars(found)
        found = space.get(name)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _find_module(name: str) -> ModuleType | None:
    module = sys.modules.get(name)
    if module is None:
        # The script run here may be the module that the worker has loaded by its name.
        try:
            module = sys.modules.get("__main__") if names.module_name("__main__", name) == name else None
        except EncodingError:
            return None
    return module


def _rebuild(cls: type[Exception], failure: dict[str, Any]) -> Exception | None:
    """Make an exception of the type, or return None where the type does not let itself be made."""
    try:
        error = _construct(cls, failure)
        if type(error) is not cls:
            return None
        _set_attributes(error, failure["state"])
        if str(error) != failure["message"]:  # made from its message, or from reprs
            error.args = failure["args"] if failure["exact"] else (failure["message"],)
        _add_notes(error, failure)
    except Exception:
        return None
    return error


def _construct(cls: type[Exception], failure: dict[str, Any]) -> Exception:
    args = failure["args"]
    if failure["exact"]:
        try:
            return cls(*args)
        except Exception:  # many a constructor takes other arguments than those that it hands up
            pass
    return cls.__new__(cls, *args)


def _set_attributes(error: Exception, state: dict[str, Any]) -> None:
    for name, value in state.items():
        try:
            setattr(error, name, value)
        except Exception:  # a property, or a slot of another type
            pass


def _add_notes(error: BaseException, failure: dict[str, Any]) -> None:
    for note in failure["notes"]:
        BaseException.add_note(error, note)


def _remote_error(failure: dict[str, Any]) -> RemoteError:
    module, qualname, message = failure["module"], failure["qualname"], failure["message"]
    name = qualname if module == "builtins" else f"{module}.{qualname}"
    error = RemoteError(
        f"{name}: {message}" if message else name, type_name=name, remote_traceback=failure["traceback"]
    )
    _add_notes(error, failure)
    return error
