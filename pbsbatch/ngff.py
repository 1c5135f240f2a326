"""The one leaf that touches Zarr: sharded arrays are streamed out, OME-NGFF images are read in.

Writing goes around zarr's own array API, because a label shard of 16384 x 16384 int32 is 1 GB and must
never be held: metadata are written as JSON, chunks are encoded one by one and appended to their shard.
Law: what is written here reads back equal to what zarr itself would have written with these metadata,
and the same calls write the same bytes.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import zarr
from numcodecs.zstd import Zstd
from numpy.typing import NDArray

from pbsbatch.disk import new_file, new_folder, write_all
from pbsbatch.errors import UnreadableSlideError, UnsupportedFormatError

__all__ = [
    "VERSION",
    "ArraySpec",
    "ArrayWriter",
    "NgffImage",
    "NgffLevel",
    "RowWriter",
    "image_attributes",
    "label_attributes",
    "levels_for",
    "open_array",
    "open_image",
    "read_attributes",
    "write_array",
    "write_group",
]

VERSION = "0.5"
_MISSING = np.uint64(2**64 - 1)
_SMALLEST_LEVEL_PX = 1024  # a pyramid ends at the first level that is no larger
_MAX_LEVELS = 8  # each level costs four files or more; beyond 131072 px the smallest one is larger instead

JSON = Any


def levels_for(width: int, height: int) -> int:
    """Return how many levels a pyramid has: each half the one before, the last at most 1024 px long; 8 at most."""
    return min(_MAX_LEVELS, max(1, math.ceil(math.log2(max(width, height) / _SMALLEST_LEVEL_PX)) + 1))


# --- writing -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ArraySpec:
    """What a sharded array is. Law: a shard is a whole number of chunks along each axis."""

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...]
    dtype: str
    fill: float = 0
    level: int = 1  # of zstd: higher levels cost more than they save on labels
    dimensions: tuple[str, ...] | None = None
    separator: str = "/"  # "." keeps a table's few shards in the array's own folder: no folders for them
    attributes: Mapping[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if any(s % c for s, c in zip(self.shard, self.chunk, strict=True)) or len(self.shape) != len(self.chunk):
            raise ValueError(f"shards of {self.shard} are not whole chunks of {self.chunk}")

    @property
    def chunks(self) -> tuple[int, ...]:
        """Return how many chunks the array has along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True))

    @property
    def per_shard(self) -> tuple[int, ...]:
        """Return how many chunks a shard has along each axis."""
        return tuple(s // c for s, c in zip(self.shard, self.chunk, strict=True))

    def metadata(self) -> dict[str, JSON]:
        """Return the array's zarr.json."""
        little = {"name": "bytes", "configuration": {"endian": "little"}}
        dtype = np.dtype(self.dtype)
        sharding = {
            "chunk_shape": list(self.chunk),
            "codecs": [
                little if dtype.itemsize > 1 else {"name": "bytes"},
                {"name": "zstd", "configuration": {"level": self.level, "checksum": False}},
            ],
            "index_codecs": [little, {"name": "crc32c"}],
            "index_location": "end",
        }
        named = {} if self.dimensions is None else {"dimension_names": list(self.dimensions)}
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(self.shape),
            "data_type": dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.shard)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": self.separator}},
            "fill_value": float(self.fill) if dtype.kind == "f" else int(self.fill),
            "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
            "attributes": dict(self.attributes),
            **named,
        }


class ArrayWriter:
    """Streams a sharded array, chunk by chunk, each exactly once.

    Laws: the bytes on disk depend on the chunks and the order of `put` alone; a chunk of nothing but
    the fill value takes no space and a shard of such chunks no file; a shard is closed when its last
    chunk arrives, so that no more files are open than shards are unfinished. Nothing is synced to disk:
    who publishes does that once for all files.
    """

    def __init__(self, path: Path, spec: ArraySpec) -> None:
        self.spec = spec
        self._path = path
        self._folders = {str(path)}  # that are there
        self._dtype = np.dtype(spec.dtype).newbyteorder("<")
        self._codec = Zstd(level=spec.level)
        self._open: dict[tuple[int, ...], _Shard] = {}
        self._left = math.prod(spec.chunks)
        _write_text(path, _array_text(spec) if not spec.attributes else _text(spec.metadata()))

    def encode(self, chunk: NDArray[np.generic]) -> bytes | None:
        """Return a chunk's bytes, None where it holds the fill value alone. Safe to call from many threads."""
        if chunk.size == 0 or not (chunk != self.spec.fill if self.spec.fill else chunk).any():
            return None
        if chunk.shape != self.spec.chunk:
            whole = np.full(self.spec.chunk, self.spec.fill, self._dtype)
            whole[tuple(slice(0, n) for n in chunk.shape)] = chunk
            chunk = whole
        return bytes(self._codec.encode(np.ascontiguousarray(chunk, self._dtype)))

    def put(self, at: Sequence[int], data: bytes | None) -> None:
        """Append the encoded chunk at grid position `at`."""
        where = tuple(a // n for a, n in zip(at, self.spec.per_shard, strict=True))
        shard = self._open.get(where)
        if shard is None:
            shard = self._open[where] = _Shard(self._path, self._folders, self.spec, where)
        shard.put(tuple(a % n for a, n in zip(at, self.spec.per_shard, strict=True)), data)
        self._left -= 1
        if shard.left == 0:
            del self._open[where]
            shard.finish()

    def finish(self) -> None:
        """Check that every chunk came. Law: an array with a hole is never finished."""
        if self._left:
            raise ValueError(f"{self._path}: {self._left} of {math.prod(self.spec.chunks)} chunks were not written")

    def abandon(self) -> None:
        """Close the files of unfinished shards."""
        for shard in self._open.values():
            shard.close()
        self._open.clear()


class _Shard:
    """One shard file: encoded chunks, then the index of (offset, size), then the index's crc32c."""

    def __init__(self, array: Path, folders: set[str], spec: ArraySpec, where: tuple[int, ...]) -> None:
        key = spec.separator.join(["c", *map(str, where)])
        self._path, self._folders = f"{array}/{key}", folders
        self._file: FileIO | None = None
        self._index = np.full((*spec.per_shard, 2), _MISSING, "<u8")
        self._at = 0
        self.left = math.prod(
            min(n, total - w * n) for n, total, w in zip(spec.per_shard, spec.chunks, where, strict=True)
        )

    def put(self, at: tuple[int, ...], data: bytes | None) -> None:
        self.left -= 1
        if data is None:
            return
        if self._file is None:
            folder = self._path.rpartition("/")[0]
            if folder not in self._folders:
                new_folder(folder)
                self._folders.add(folder)
            self._file = new_file(self._path)
        write_all(self._file, data)
        self._index[at] = self._at, len(data)
        self._at += len(data)

    def finish(self) -> None:
        if self._file is None:
            return
        index = self._index.tobytes()
        write_all(self._file, index + struct.pack("<I", google_crc32c.value(index)))
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class RowWriter:
    """Streams an array from blocks that follow one another along its first axis, of any lengths.

    The other axes must fit in one chunk. Law: holds one chunk and one block at a time.
    """

    def __init__(self, path: Path, spec: ArraySpec) -> None:
        if any(n > c for n, c in zip(spec.shape[1:], spec.chunk[1:], strict=True)):
            raise ValueError(f"rows of {spec.shape[1:]} do not fit in a chunk of {spec.chunk[1:]}")
        self._writer = ArrayWriter(path, spec)
        self._waiting: list[NDArray[np.generic]] = []
        self._held = self._row = 0

    def append(self, block: NDArray[np.generic]) -> None:
        """Add rows; write the chunks that are full."""
        step = self._writer.spec.chunk[0]
        self._waiting.append(block)
        self._held += len(block)
        if self._held < step:
            return
        rows = np.concatenate(self._waiting)
        for at in range(0, self._held - step + 1, step):
            self._put(rows[at : at + step])
        self._held %= step
        self._waiting = [rows[len(rows) - self._held :].copy()]

    def finish(self) -> None:
        """Write the last, shorter chunk."""
        if self._held:
            self._put(np.concatenate(self._waiting))
        self._writer.finish()

    def _put(self, rows: NDArray[np.generic]) -> None:
        spec = self._writer.spec
        self._writer.put((self._row, *(0 for _ in spec.shape[1:])), self._writer.encode(rows))
        self._row += 1

    def abandon(self) -> None:
        """Close what is open."""
        self._writer.abandon()


def write_array(path: Path, spec: ArraySpec, values: NDArray[np.generic]) -> None:
    """Write a whole array that is small enough to be held."""
    writer = ArrayWriter(path, spec)
    try:
        for at in np.ndindex(*spec.chunks):
            box = tuple(slice(a * c, (a + 1) * c) for a, c in zip(at, spec.chunk, strict=True))
            writer.put(at, writer.encode(values[box]))
        writer.finish()
    finally:
        writer.abandon()


def write_group(path: Path, attributes: Mapping[str, JSON] | None = None) -> None:
    """Write a group's zarr.json."""
    _write_text(path, _text({"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}))


def _text(value: Mapping[str, JSON]) -> bytes:
    return json.dumps(value, allow_nan=False).encode() + b"\n"


def _array_text(spec: ArraySpec) -> bytes:
    """Return the zarr.json of an array without attributes; the stores of an archive have many alike."""
    return _array_text_of(*(getattr(spec, f.name) for f in fields(spec) if f.name != "attributes"))


@lru_cache(1024)
def _array_text_of(*values: Any) -> bytes:
    return _text(ArraySpec(*values).metadata())


def _write_text(folder: Path, text: bytes) -> None:
    new_folder(str(folder))
    with new_file(f"{folder}/zarr.json") as f:
        write_all(f, text)


def _multiscale(name: str, channels: bool, scales: Sequence[float], unit: str | None) -> dict[str, JSON]:
    space = {"type": "space"} if unit is None else {"type": "space", "unit": unit}
    axes = [{"name": "c", "type": "channel"}] * channels + [{"name": a, **space} for a in "yx"]
    datasets = [
        {"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": [1.0] * channels + [s, s]}]}
        for k, s in enumerate(scales)
    ]
    return {"name": name, "axes": axes, "datasets": datasets}


def image_attributes(name: str, downsamples: Sequence[float], mpp: float | None) -> dict[str, JSON]:
    """Return the attributes of an RGB pyramid with axes c, y, x; downsamples are level-0 px per pixel."""
    scales, unit = _scales(downsamples, mpp)
    window = {"min": 0, "max": 255, "start": 0, "end": 255}
    channels = [
        {"label": label, "color": color, "active": True, "window": window}
        for label, color in (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
    ]
    multiscale = _multiscale(name, True, scales, unit)
    return {"version": VERSION, "multiscales": [multiscale], "omero": {"channels": channels}}


def label_attributes(name: str, downsamples: Sequence[float], mpp: float | None) -> dict[str, JSON]:
    """Return the attributes of a label pyramid with axes y, x whose image is two groups up."""
    scales, unit = _scales(downsamples, mpp)
    multiscale = _multiscale(name, False, scales, unit)
    return {"version": VERSION, "multiscales": [multiscale], "image-label": {"source": {"image": "../../"}}}


def _scales(downsamples: Sequence[float], mpp: float | None) -> tuple[list[float], str | None]:
    return [float(d * (mpp or 1.0)) for d in downsamples], "micrometer" if mpp else None


# --- reading -----------------------------------------------------------------------------------------


def open_array(path: Path) -> Any:
    """Open one array for reading, as zarr gives it."""
    return zarr.open_array(path, mode="r")


def read_attributes(path: Path) -> dict[str, JSON]:
    """Return the attributes of a Zarr v3 group, read cheaply. Raises OSError or ValueError."""
    value = json.loads((path / "zarr.json").read_bytes())
    if not isinstance(value, dict) or not isinstance(value.get("attributes", {}), dict):
        raise ValueError("zarr.json holds no object")
    return dict(value.get("attributes", {}))


_UM_PER_UNIT = {
    "micrometer": 1.0, "um": 1.0, "µm": 1.0, "μm": 1.0, "micron": 1.0,
    "nanometer": 1e-3, "nm": 1e-3, "millimeter": 1e3, "mm": 1e3,
}  # fmt: skip


@dataclass(frozen=True)
class NgffLevel:
    """One resolution of an NGFF image, read as RGB. downsample is level-0 px per pixel of this level."""

    width: int
    height: int
    downsample: float
    _array: Any = field(repr=False)
    _axes: str = field(repr=False)

    def read(self, x: int, y: int, w: int, h: int) -> NDArray[np.uint8]:
        """Return (h, w, 3) RGB of a box that lies inside. A gray image is repeated in three channels."""
        if x < 0 or y < 0 or w < 0 or h < 0 or x + w > self.width or y + h > self.height:
            raise ValueError(f"box {(x, y, w, h)} leaves the level's {self.width} x {self.height} px")
        size = dict(zip(self._axes, self._array.shape, strict=True))
        channels = 3 if size.get("c", 1) >= 3 else 1
        picks = {
            "x": slice(x, x + w), "y": slice(y, y + h), "c": slice(0, channels),
            "t": 0, "z": size.get("z", 1) // 2,
        }  # fmt: skip
        pixels = np.asarray(self._array[tuple(picks[a] for a in self._axes)])
        left = "".join(a for a in self._axes if a in "cyx")
        if "c" not in left:
            pixels, left = pixels[np.newaxis], "c" + left
        pixels = pixels.transpose([left.index(a) for a in "yxc"])
        return np.ascontiguousarray(np.broadcast_to(pixels, (h, w, 3)), np.uint8)


@dataclass(frozen=True)
class NgffImage:
    """An OME-NGFF image: its levels from fine to coarse, its scale, and what a person should know about it."""

    levels: tuple[NgffLevel, ...]
    mpp: float | None
    notes: tuple[str, ...]


def open_image(path: Path) -> NgffImage:
    """Open an OME-NGFF 0.4 or 0.5 image. Raises UnreadableSlideError or UnsupportedFormatError."""
    group, attributes = _open_group(path)
    if "plate" in attributes:
        raise UnsupportedFormatError("this is an NGFF plate", path=path, cure="Give the folder of one of its fields")
    notes: list[str] = []
    if "multiscales" not in attributes and "bioformats2raw.layout" in attributes:
        notes.append("holds a series of images; the first is used")
        path = path / "0"
        group, attributes = _open_group(path)
    return _image(path, group, attributes, notes)


def _open_group(path: Path) -> tuple[Any, dict[str, JSON]]:
    # zarr and the file system raise many kinds here, all meaning the same to a person
    attributes = _guard(path, lambda: (g := zarr.open_group(path, mode="r"), dict(g.attrs)))
    group, found = attributes
    nested = found.get("ome")
    return group, dict(nested) if isinstance(nested, Mapping) else found


def _guard(path: Path, do: Callable[[], Any]) -> Any:
    try:
        return do()
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, IndexError, AttributeError) as e:
        raise UnreadableSlideError(
            f"not a readable OME-NGFF image ({type(e).__name__}: {e})", path=path, cure="Convert the slide again"
        ) from e


def _image(path: Path, group: Any, attributes: Mapping[str, JSON], notes: list[str]) -> NgffImage:
    def parse() -> tuple[str, list[tuple[Any, list[float]]], list[str | None]]:
        multiscale = attributes["multiscales"][0]
        names, units = _axes(multiscale)
        outer = _scale_of(multiscale, len(names))
        found = [
            (group[_inside(d["path"])], [a * b for a, b in zip(_scale_of(d, len(names)), outer, strict=True)])
            for d in multiscale["datasets"]
        ]
        if not found:
            raise ValueError("no datasets")
        return names, found, units

    axes, datasets, units = _guard(path, parse)
    if not set(axes) <= set("tczyx") or not {"x", "y"} <= set(axes) or len(set(axes)) != len(axes):
        raise UnsupportedFormatError(f"axes {axes!r} are not among t, c, z, y, x", path=path)
    for array, _ in datasets:
        if array.dtype != np.uint8:
            raise UnsupportedFormatError(
                f"pixels are {array.dtype}, not uint8", path=path, cure="Convert the slide to 8 bits per channel"
            )
        if array.ndim != len(axes) or min(array.shape) < 1:
            raise UnreadableSlideError(f"an array of shape {array.shape} does not fit axes {axes!r}", path=path)
    ordered = sorted(datasets, key=lambda item: -item[0].shape[axes.index("x")])
    mpp = _mpp(axes, ordered[0][1], units, notes)
    return NgffImage(_levels(axes, [array for array, _ in ordered]), mpp, tuple(notes))


def _inside(path: str) -> str:
    """Return a dataset's path, or refuse one that leads out of the image's folder."""
    if path.startswith("/") or ".." in path.split("/"):
        raise ValueError(f"the dataset path {path!r} leaves the image")
    return path


def _axes(multiscale: Mapping[str, JSON]) -> tuple[str, list[str | None]]:
    """Return the axes' names as one string, and their units; images before 0.4 have the five in order."""
    axes = multiscale.get("axes", list("tczyx"))
    named = [{"name": a} if isinstance(a, str) else dict(a) for a in axes]
    names = [str(a["name"]).lower() for a in named]
    if any(len(n) != 1 for n in names):
        raise ValueError(f"axes are named {names}")
    return "".join(names), [a.get("unit") for a in named]


def _scale_of(item: Mapping[str, JSON], n: int) -> list[float]:
    for transform in item.get("coordinateTransformations", ()):
        if transform.get("type") == "scale" and "scale" in transform:
            scale = [float(v) for v in transform["scale"]]
            if len(scale) != n or not all(math.isfinite(v) and v > 0 for v in scale):
                raise ValueError(f"scale {scale} does not fit {n} axes")
            return scale
    return [1.0] * n


def _mpp(axes: str, scale: Sequence[float], units: Sequence[str | None], notes: list[str]) -> float | None:
    """Return um per pixel where the file says it with a unit; a scale without a unit is not a scale."""
    x, y = axes.index("x"), axes.index("y")
    um = [_UM_PER_UNIT.get((units[i] or "").lower()) for i in (x, y)]
    if um[0] is None or um[1] is None:
        notes.append(f"um per pixel is not known: the axes' unit is {units[x] or 'missing'}")
        return None
    mpp_x, mpp_y = scale[x] * um[0], scale[y] * um[1]
    if abs(mpp_x - mpp_y) > 0.01 * mpp_x:
        notes.append(f"pixels are not square ({mpp_x:g} x {mpp_y:g} um); the mean is used")
    return (mpp_x + mpp_y) / 2


def _levels(axes: str, arrays: Sequence[Any]) -> tuple[NgffLevel, ...]:
    x, y = axes.index("x"), axes.index("y")
    w0, h0 = arrays[0].shape[x], arrays[0].shape[y]
    return tuple(
        NgffLevel(int(a.shape[x]), int(a.shape[y]), _downsample((w0, h0), (a.shape[x], a.shape[y])), a, axes)
        for a in arrays
    )


def _downsample(full: tuple[int, int], small: tuple[int, int]) -> float:
    """Return the whole factor that gives these sizes by rounding either way, else the ratio of widths."""
    whole = max(1, round(full[0] / small[0]))
    if all(s in (f // whole, -(-f // whole)) for f, s in zip(full, small, strict=True)):
        return float(whole)
    return full[0] / small[0]
