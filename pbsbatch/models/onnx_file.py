"""Read an ONNX file's interface without a runtime: a bounded walk over its protocol buffers.

Laws. Tensors that live outside the file are refused wherever they hide: a runtime would open any path that they
name. Nothing is decoded but names, types and shapes; a file that is no protocol buffer is refused, not guessed at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["FLOAT", "UINT8", "Interface", "OnnxError", "Port", "interface"]

FLOAT, UINT8 = 1, 2
"""Element types of ONNX."""
MOST_FIELDS = 500_000
"""A detector's graph has some thousand fields; a hostile file has millions."""
MOST_DEPTH = 32
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 11: "input", 12: "output", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
"""Which fields of which message may lead to a tensor, or to the ports of the graph."""
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
"""Fields of a tensor whose numbers stand in another file."""


class OnnxError(ValueError):
    """The bytes are no ONNX file that is safe to hand to a runtime."""


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output: None is a side that may vary."""

    name: str
    element: int
    shape: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Interface:
    """What goes into the graph and what comes out."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def interface(data: bytes) -> Interface:
    """Return the ports of a model's graph. Law: OnnxError unless every tensor lies within the file."""
    walk = _Walk()
    walk.visit("model", memoryview(data), 0)
    if not walk.outputs:
        raise OnnxError("it holds no graph")
    return Interface(tuple(walk.inputs), tuple(walk.outputs))


@dataclass(slots=True)
class _Walk:
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    fields: int = 0

    def visit(self, kind: str, view: memoryview, depth: int) -> None:
        """Walk one message and every message in it that can hold a tensor."""
        if depth > MOST_DEPTH:
            raise OnnxError("its graphs are nested too deep")
        for number, value in _fields(view):
            self.fields += 1
            if self.fields > MOST_FIELDS:
                raise OnnxError(f"it has more than {MOST_FIELDS} fields")
            if kind == "tensor":
                if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value != 0):
                    raise OnnxError("its tensors lie in another file (external data)")
                continue
            inside = _INSIDE[kind].get(number)
            if inside is None:
                continue
            if not isinstance(value, memoryview):
                raise OnnxError(f"field {number} of a {kind} is no message")
            if inside in ("input", "output"):
                if depth == 1:  # ports of the model's own graph, not of a loop's body
                    (self.inputs if inside == "input" else self.outputs).append(_port(value))
            else:
                self.visit(inside, value, depth + 1)


def _fields(view: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the fields of a message: a number, and an integer or the bytes of what is inside."""
    at = 0
    while at < len(view):
        key, at = _varint(view, at)
        number, wire = key >> 3, key & 7
        value: int | memoryview
        if wire == _VARINT:
            value, at = _varint(view, at)
        elif wire in (_FIXED64, _FIXED32, _BYTES):
            size, at = _varint(view, at) if wire == _BYTES else (8 if wire == _FIXED64 else 4, at)
            value, at = view[at : at + size], at + size
        else:
            raise OnnxError("it is no protocol buffer")
        if number == 0 or at > len(view):
            raise OnnxError("it is cut off, or no protocol buffer")
        yield number, value


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise OnnxError("it is cut off, or no protocol buffer")


def _port(view: memoryview) -> Port:
    """Read a ValueInfoProto: name, and element type and shape of a tensor."""
    tensor = _message(_message(view, 2), 1)
    sides: list[int | None] = []
    for dim in _all(_message(tensor, 2), 1):
        known = [v for n, v in _fields(dim) if n == 1 and isinstance(v, int)]
        sides.append(known[-1] if known else None)
    element = [v for n, v in _fields(tensor) if n == 1 and isinstance(v, int)]
    name = bytes(_message(view, 1)).decode("utf-8", "replace")
    return Port(name, element[-1] if element else 0, tuple(sides))


def _message(view: memoryview, number: int) -> memoryview:
    """Return the last field of that number, empty where there is none."""
    return ([*_all(view, number)] or [memoryview(b"")])[-1]


def _all(view: memoryview, number: int) -> Iterator[memoryview]:
    for n, value in _fields(view):
        if n == number and isinstance(value, memoryview):
            yield value
