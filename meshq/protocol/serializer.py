"""What every serializer has in common: calls, and the errors on both sides of the wire."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from meshq.errors import EncodingError, MeshqError, RemoteProtocolError, TaskError
from meshq.protocol.payload import Buffer, Payload
from meshq.protocol.unfit import Children, exact_children, find_unfit, type_of

_ADVICE = "pass plain data, or allow pickle (meshq node --allow-pickle, on a mesh with a key)"


class Serializer(ABC):
    """Turns values and calls into payloads and back. Its methods may be called from any thread."""

    name: str
    advice = _ADVICE
    children: Children = staticmethod(exact_children)

    @abstractmethod
    def encode(self, value: object) -> Payload:
        """Return the value's payload; raises anything where it does not fit."""

    @abstractmethod
    def decode(self, payload: Payload | Buffer) -> Any:
        """Return the payload's value; raises anything where it is malformed."""

    def dumps(self, value: object, what: str) -> Payload:
        """Return the value's payload. Raises EncodingError, which calls the value ``what`` ("result")."""
        try:
            return self.encode(value)
        except (MemoryError, TaskError):
            raise
        except Exception as error:
            raise self._unfit([(what, value)], error) from error

    def loads(self, payload: Payload | Buffer) -> Any:
        """Return the payload's value.

        Raises RemoteProtocolError where the payload is malformed, EncodingError where it is not, but its
        value needs a package that is missing here.
        """
        try:
            return self.decode(payload)
        except MeshqError:
            raise
        except Exception as error:
            raise RemoteProtocolError(
                f"a payload is not {self.name}: {type(error).__name__}: {error}"[:1000]
            ) from error

    def dumps_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Payload:
        """Return the payload of a call's arguments. Raises EncodingError, which names the argument."""
        try:
            return self.encode([list(args), kwargs])
        except (MemoryError, TaskError):
            raise
        except Exception as error:
            raise self._unfit(_labelled(args, kwargs), error) from error

    def loads_call(self, payload: Payload | Buffer) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call. Raises as ``loads``."""
        call = self.loads(payload)
        if type(call) is list and len(call) == 2:
            args, kwargs = call
            if type(args) is list and type(kwargs) is dict and (not kwargs or _are_names(kwargs)):
                return tuple(args), kwargs
        raise RemoteProtocolError("a call's arguments are not a list and a map of names")

    def reason(self, value: object, is_key: bool) -> str | None:
        """Say why a value that is no container does not fit ("a socket.socket"), or None where it does."""
        try:
            self.encode(value)
        except EncodingError as error:
            return str(error)
        except Exception as error:
            return f"{type_of(value)} ({error})"
        return None

    def _unfit(self, labelled: Iterable[tuple[str, object]], error: Exception) -> EncodingError:
        for label, value in labelled:
            found = find_unfit(value, self.children, self.reason)
            if found is not None:
                return EncodingError(f"{label}{found}, which {self.name} can't carry; {self.advice}")
        return EncodingError(f"{self.name} can't carry the data: {error}; {self.advice}")


def _are_names(keys: Iterable[object]) -> bool:
    return all(type(key) is str for key in keys)


def _labelled(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterable[tuple[str, object]]:
    for number, value in enumerate(args, 1):
        yield f"argument {number}", value
    for name, value in kwargs.items():
        yield "the name of a keyword argument", name
        yield f"argument {name!r}", value
