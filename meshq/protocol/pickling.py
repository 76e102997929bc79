"""The pickle serializer, for meshes that allow it: whoever may send a pickle may run any code."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgpack

from meshq.errors import EncodingError, RemoteProtocolError
from meshq.protocol.attachments import ATTACH_BYTES, Attachments, as_one, is_attached, split
from meshq.protocol.payload import Buffer, Payload
from meshq.protocol.serializer import Serializer

_PROTOCOL = 5
_INSTALL = "'pip install cloudpickle', here and where the nodes run, which takes functions by their code"
_MAX_TEXT = 1_000


@cache
def _cloudpickle() -> Any:
    """Return the module cloudpickle, or None where it is not installed."""
    try:
        import cloudpickle
    except ImportError:
        return None
    return cloudpickle


class _Pickling:
    """One value's pickle, with its large buffers attached."""

    def __init__(self, dumps: Any, value: object) -> None:
        self.attachments = Attachments()
        self.places: list[tuple[int, int]] = []
        self.data: bytes = dumps(value, protocol=_PROTOCOL, buffer_callback=self._attach)

    def _attach(self, buffer: pickle.PickleBuffer) -> bool:
        """Attach a buffer, or return True, which asks pickle to keep it in band."""
        view = buffer.raw()
        if view.nbytes < ATTACH_BYTES:
            return True
        self.places.append((self.attachments.add(view), view.nbytes))
        return False

    def payload(self) -> Payload:
        if not self.places:
            return self.data
        return self.attachments.take(msgpack.packb([self.data, self.places]))


def _pickled(value: object) -> _Pickling:
    """Pickle a value, with cloudpickle where that carries more.

    What is defined in ``__main__`` pickles as a name, which means nothing in a worker.
    """
    cloudpickle = _cloudpickle()
    try:
        pickling = _Pickling(pickle.dumps, value)
        if cloudpickle is None or b"__main__" not in pickling.data:
            return pickling
    except Exception:
        if cloudpickle is None:
            raise
    return _Pickling(cloudpickle.dumps, value)


class PickleSerializer(Serializer):
    """Carries what pickle carries, and functions and classes of scripts if cloudpickle is installed."""

    name = "pickle"
    advice = "pass plain data"

    def encode(self, value: object) -> Payload:
        """Return the value's payload; raises anything where it does not fit."""
        return _pickled(value).payload()

    def decode(self, payload: Payload | Buffer) -> Any:
        """Return the payload's value, running what code it asks for; raises anything where that fails."""
        if not is_attached(payload):
            return _load(as_one(payload))
        head, area = split(payload)
        pickled, places = msgpack.unpackb(head)
        if type(pickled) is not bytes:
            raise RemoteProtocolError("a payload of attached buffers has no pickle in it")
        return _load(pickled, [area.view(*place) for place in places])

    def _unfit(self, labelled: Iterable[tuple[str, object]], error: Exception) -> EncodingError:
        found = super()._unfit(labelled, error)
        return found if _cloudpickle() is not None else EncodingError(f"{found}, or {_INSTALL}")


def _load(data: Buffer, buffers: Iterable[Any] = ()) -> Any:
    try:
        return pickle.loads(data, buffers=buffers)
    except (ImportError, AttributeError) as error:
        advice = f"; {_INSTALL}" if getattr(error, "name", None) == "cloudpickle" else ""
        raise RemoteProtocolError(f"a pickle needs what is not here: {error}{advice}"[:_MAX_TEXT]) from error
