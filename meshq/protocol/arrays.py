"""numpy arrays and scalars as dtype, shape and bytes; large ones beside the payload's head, without a copy.

numpy is optional: nothing here imports it before an array is there.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgpack
from msgpack import ExtType

from meshq.errors import EncodingError, RemoteProtocolError
from meshq.protocol.attachments import ATTACH_BYTES, Area, Attachments
from meshq.protocol.extensions import ARRAY, ATTACHED_ARRAY, SCALAR
from meshq.protocol.payload import Buffer
from meshq.protocol.unfit import type_of

if TYPE_CHECKING:
    import numpy as np

_MAX_DIMENSIONS = 64
# Booleans, numbers, dates, text and bytes. Other kinds hold pointers, or belong to another package.
_SIMPLE_DTYPE = re.compile(r"[<>|][biufcmMSUV]\d{1,9}(\[\d{0,9}[a-zA-Z]+\])?")


def encode_numpy(value: Any, attachments: Attachments) -> ExtType | None:
    """Pack an array or a scalar of numpy's; None for any other value.

    Raises EncodingError ("a numpy.ndarray of dtype object") for one that is more than its bytes.
    """
    numpy = sys.modules.get("numpy")
    if numpy is None:  # then the value is none of its types either
        return None
    if type(value) is numpy.ndarray:
        return _encode_array(value, attachments)
    if isinstance(value, numpy.generic) and type(value) is value.dtype.type:
        return _encode_scalar(value, numpy.asarray(value))
    return None


def _pack(fields: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(fields)
    return packed


def _encode_scalar(scalar: np.generic, array: np.ndarray[Any, Any]) -> ExtType:
    """Pack a scalar as the array without dimensions that holds it."""
    if array.dtype.kind in "SU" and array[()] != scalar:  # an array drops the zeros at a text's end
        raise EncodingError(f"{type_of(scalar)} that ends in a zero")
    return ExtType(SCALAR, _pack([_describe(scalar, array.dtype), array.tobytes()]))


def _encode_array(array: np.ndarray[Any, Any], attachments: Attachments) -> ExtType:
    order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
    head = [_describe(array, array.dtype), order, *array.shape]
    data = _bytes_of(array.T if order == "F" else array)
    if len(data) < ATTACH_BYTES:
        return ExtType(ARRAY, _pack([head, data]))
    return ExtType(ATTACHED_ARRAY, _pack([head, attachments.add(data), len(data)]))


def _bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    """Return the array's bytes in C order; a copy only where the array is not contiguous."""
    if not array.nbytes:
        return memoryview(b"")
    flat = array.reshape(-1)
    if not flat.flags.c_contiguous:  # a slice of one dimension stays one
        flat = flat.copy()
    return flat.view("u1").data


def _describe(value: object, dtype: np.dtype[Any]) -> Any:
    """Return a dtype's text, or the list of its fields, where that names it wholly."""
    described: Any = None
    try:
        described = dtype.str if dtype.names is None else dtype.descr
        if _dtype(described) == dtype:
            return described
    except (TypeError, ValueError, RemoteProtocolError):  # objects, overlaps, other packages' dtypes
        pass
    raise EncodingError(f"{type_of(value)} of dtype {dtype}")


def _dtype(described: Any) -> np.dtype[Any]:
    """Make a dtype of its description; never one that holds pointers."""
    import numpy

    if isinstance(described, str) and _SIMPLE_DTYPE.fullmatch(described):
        return numpy.dtype(described)
    if isinstance(described, list) and described:
        return numpy.dtype([_field(*field) for field in described])
    raise RemoteProtocolError(f"{str(described)[:200]!r} is not the dtype of an array")


def _field(name: str, described: Any, shape: Sequence[int] = ()) -> tuple[str, Any, tuple[int, ...]]:
    return name, _dtype(described), tuple(shape)


def decode_scalar(data: bytes) -> object:
    """Return a numpy scalar; raises anything where the data is malformed."""
    described, value = msgpack.unpackb(data)
    return _build([described, "C"], value)[()]


def decode_array(data: bytes) -> np.ndarray[Any, Any]:
    """Return a small array, which is writable; raises anything where the data is malformed."""
    head, value = msgpack.unpackb(data)
    return _build(head, bytearray(value))


def decode_attached_array(data: bytes, area: Area) -> np.ndarray[Any, Any]:
    """Return an array that is a view into the area; raises anything where the data is malformed."""
    head, offset, length = msgpack.unpackb(data)
    return _build(head, area.view(offset, length))


def _build(head: list[Any], data: Buffer) -> np.ndarray[Any, Any]:
    """Lay an array over the data, which must be of exactly its length."""
    try:
        import numpy
    except ImportError:
        raise EncodingError("a payload holds numpy data, and numpy is not installed here") from None
    described, order, *shape = head
    dtype = _dtype(described)
    if order not in ("C", "F") or len(shape) > _MAX_DIMENSIONS:
        raise RemoteProtocolError(f"{str(head)[:200]} does not describe an array")
    if any(type(length) is not int or length < 0 for length in shape):
        raise RemoteProtocolError(f"an array cannot have the shape {str(shape)[:200]}")
    if math.prod(shape) * dtype.itemsize != len(data):
        raise RemoteProtocolError(f"an array of {len(data)} bytes cannot be {shape} of {dtype}")
    return numpy.ndarray(shape, dtype, data, order=order)
