"""One Zarr 3 array that grows along its first dimension, written without a library.

Why not through zarr-python: its stores replace a whole chunk file for every added row and pass through an event loop, about a
millisecond an array; here a row is some bytes written in place behind the rows before it. The bytes are plain Zarr 3 (regular chunks,
`bytes` codec, little endian, no compression), which the tests read back with zarr and with xarray.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cflows_core.errors import StoreError
from cflows_core.store.files import ROOT, dumps, replace_file, sync_folder, write_at

DTYPES = ("float64", "int64", "int8")
WIDEST = 2**16  # rows of a file, and length of any other dimension
_PATH = re.compile(r"\w+(/\w+)?", re.ASCII)  # below the run's root, and nowhere else


@dataclass(frozen=True)
class ArraySpec:
    """Name and shape of one array: `path` below the run's root, `dims` beyond `step` with their lengths `tail`.

    dtype: "float64", "int64" or "int8"; missing rows read as NaN, or 0 for integers. chunk_rows: steps in one file.
    """

    path: str
    dtype: str
    dims: tuple[str, ...]
    tail: tuple[int, ...]
    attributes: dict[str, Any]
    chunk_rows: int

    @property
    def fill(self) -> float:
        return np.nan if self.dtype == "float64" else 0

    @property
    def _stored(self) -> np.dtype:
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def _row_bytes(self) -> int:
        return int(np.prod(self.tail, dtype=int)) * self._stored.itemsize

    def blank(self, rows: int) -> np.ndarray:
        """[rows, *tail] of the fill value."""
        return np.full((rows, *self.tail), self.fill, dtype=self.dtype)

    def metadata(self, rows: int) -> dict[str, Any]:
        """The array's `zarr.json` at `rows` steps."""
        codec: dict[str, Any] = {"name": "bytes"}
        if self._stored.itemsize > 1:
            codec["configuration"] = {"endian": "little"}
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [rows, *self.tail],
            "data_type": self.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [self.chunk_rows, *self.tail]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": "NaN" if self.dtype == "float64" else 0,
            "codecs": [codec],
            "attributes": self.attributes,
            "dimension_names": ["step", *self.dims],
            "storage_transformers": [],
        }

    @classmethod
    def from_metadata(cls, path: str, metadata: dict[str, Any]) -> ArraySpec:
        """The inverse of `metadata`. Raises StoreError for an array of another layout (rewritten by another tool)."""
        try:
            chunk_rows, *tail = metadata["chunk_grid"]["configuration"]["chunk_shape"]
            if metadata["data_type"] not in DTYPES or not all(type(size) is int and 0 < size <= WIDEST for size in (chunk_rows, *tail)):
                raise ValueError(path)
            dims = tuple(metadata["dimension_names"][1:])
            spec = cls(path, metadata["data_type"], dims, tuple(tail), metadata["attributes"], chunk_rows)
            if _PATH.fullmatch(path) and {**spec.metadata(0), "shape": []} == {**metadata, "shape": []}:
                return spec
        except (KeyError, TypeError, ValueError):
            pass
        raise StoreError(f"The array `{path}` is not in the layout that cflows writes: open this store with xarray.open_zarr instead.")

    def _chunk(self, root: Path, index: int) -> Path:
        return root / self.path / ".".join(["c", str(index), *("0" for _ in self.tail)])

    def write(self, root: Path, first: int, block: np.ndarray) -> None:
        """Write `block` [n, *tail] as rows `first` to `first + n`; other rows keep every bit. Raises OSError."""
        width, size = self._row_bytes, self.chunk_rows * self._row_bytes
        fill = np.array(self.fill, dtype=self._stored).tobytes()
        stop = first + len(block)
        for index in range(first // self.chunk_rows, -(-stop // self.chunk_rows)):
            start = index * self.chunk_rows
            low, high = max(first, start), min(stop, start + self.chunk_rows)
            content = np.ascontiguousarray(block[low - first : high - first], dtype=self._stored).tobytes()
            path = self._chunk(root, index)
            try:
                write_at(path, (low - start) * width, content, size, fill)
            except FileNotFoundError:
                self.write_metadata(root, 0)
                write_at(path, (low - start) * width, content, size, fill)

    def write_metadata(self, root: Path, rows: int) -> None:
        """Write the array's own `zarr.json`, for readers that do not use the root's. Raises OSError."""
        (root / self.path).mkdir(parents=True, exist_ok=True)
        replace_file(root / self.path / ROOT, dumps(self.metadata(rows)))

    def sync(self, root: Path, first: int, stop: int) -> None:
        """Wait until rows `first` to `stop`, as written, are on the disk. Raises OSError."""
        for index in range(first // self.chunk_rows, -(-stop // self.chunk_rows)):
            try:
                file = os.open(self._chunk(root, index), os.O_RDWR)
            except FileNotFoundError:
                continue  # the flow had not started
            try:
                os.fsync(file)
            finally:
                os.close(file)
        sync_folder(root / self.path)

    def room(self, root: Path) -> int:
        """Rows for which there are files, from the first on."""
        index = 0
        while self._chunk(root, index).exists():
            index += 1
        return index * self.chunk_rows

    def read(self, root: Path, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The first `rows` rows, [rows, *tail], and which of them are lost, [rows]: what a damaged file lacks is filled.

        The first chunks without a file were never written (of a flow that had not started) and read as filled, as Zarr says; from the first
        file on a recorder writes every row.
        """
        values, lost, begun = self.blank(rows), np.zeros(rows, dtype=bool), False
        for index in range(-(-rows // self.chunk_rows)):
            start = index * self.chunk_rows
            wanted = min(rows - start, self.chunk_rows)
            try:
                content = self._chunk(root, index).read_bytes()[: wanted * self._row_bytes]
                begun = True
            except FileNotFoundError:
                lost[start : start + wanted] = begun
                continue
            except OSError:
                content = b""
            got = len(content) // self._row_bytes
            lost[start + got : start + wanted] = True
            numbers = np.frombuffer(content[: got * self._row_bytes], dtype=self._stored)
            values[start : start + got] = numbers.reshape(got, *self.tail)
        return values, lost
