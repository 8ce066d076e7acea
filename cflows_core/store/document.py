"""The root document of a run, `zarr.json`: replacing it is what commits.

It holds the run's own attributes (under `cflows`) and the metadata of every array with its committed length, in the place where Zarr
keeps consolidated metadata: xarray and zarr, like `Run`, so see one committed state of the whole tree, whatever the writer was doing.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from platform import python_version
from typing import Any

from cflows_core._version import __version__
from cflows_core.config import RunConfig
from cflows_core.errors import StoreError
from cflows_core.frames import Event
from cflows_core.store.arrays import ArraySpec
from cflows_core.store.files import LOCK, PARTIAL, ROOT, WriterLock

SCHEMA_VERSION = 1
KEY = "cflows"
DELETED = ".deleted"  # ending of a run's folder while it is deleted to be overwritten
# Schema version -> what makes a root document of the next one out of it. A release that raises SCHEMA_VERSION adds its entry, so that
# every run ever written opens; `cflows check --repair` writes what is migrated.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def environment(config: RunConfig) -> dict[str, Any]:
    """What a run is stored with: when it was made, with which versions, device and threads (as far as can be told from outside)."""
    found = {"cflows": __version__, "python": python_version()}
    for name in ("torch", "zarr"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "absent"
    torch = sys.modules.get("torch")
    threads = config.threads if torch is None else torch.get_num_threads()
    return {"created": datetime.now(UTC).isoformat(timespec="seconds"), "versions": found, "device": config.device, "threads": threads}


def tree(specs: Iterable[ArraySpec], rows: int, attributes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Zarr group documents by path ("" for the root), each with the metadata of everything below it."""
    # group by group: zarr-python rebuilds the tree with itertools.groupby and would lose what comes in between
    arrays = {spec.path: spec.metadata(rows) for spec in sorted(specs, key=lambda spec: spec.path.rpartition("/")[0])}
    names = sorted({path.rpartition("/")[0] for path in arrays} - {""})
    documents = {"": _group({name: _group(None) for name in names} | arrays, **{KEY: attributes})}
    for name in names:
        documents[name] = _group({path.removeprefix(f"{name}/"): entry for path, entry in arrays.items() if path.startswith(f"{name}/")})
    return documents


def _group(below: dict[str, Any] | None, **attributes: Any) -> dict[str, Any]:
    # xarray makes wall_time a coordinate because of this attribute (CF conventions)
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"coordinates": "wall_time", **attributes}}
    return group if below is None else group | {"consolidated_metadata": {"kind": "inline", "must_understand": False, "metadata": below}}


def read_attributes(root: Path) -> dict[str, Any] | None:
    """Attributes of the run at `root`, None if that is no run (or nothing at all)."""
    document = _read(root)
    return None if document is None else document["attributes"][KEY]


def read_document(root: Path) -> tuple[dict[str, Any], list[ArraySpec]]:
    """Attributes and arrays of the run at `root`, in the present schema.

    Raises StoreError where there is no run, or one of a newer schema, or of one so old that nothing is known of it.
    """
    document = _read(root)
    if document is None:
        if not root.exists():
            raise StoreError(f"There is no stored run at {root}: check the path.")
        raise StoreError(f"{root} is not a stored run: give a directory that `cflows run --out` or a Recorder has made.")
    document = migrated(root, document)
    attributes = document["attributes"][KEY]
    members = document["consolidated_metadata"]["metadata"]
    arrays = [(path, entry) for path, entry in members.items() if entry["node_type"] == "array"]
    return attributes, [ArraySpec.from_metadata(path, entry) for path, entry in arrays]


def migrated(root: Path, document: dict[str, Any]) -> dict[str, Any]:
    """The root document in the present schema, by the migrations from its own on. Raises StoreError."""
    version = document["attributes"][KEY]["schema_version"]
    if version > SCHEMA_VERSION:
        raise StoreError(
            f"{root} was written in store schema {version}, and this cflows {__version__} reads up to schema {SCHEMA_VERSION}: "
            "upgrade cflows to open it."
        )
    for step in range(version, SCHEMA_VERSION):
        if step not in MIGRATIONS:
            raise StoreError(
                f"{root} was written in store schema {version}, of which this cflows {__version__} knows nothing (it reads "
                f"schema {min([*MIGRATIONS, SCHEMA_VERSION])} to {SCHEMA_VERSION}): open it with the cflows that wrote it."
            )
        document = MIGRATIONS[step](document)
        document["attributes"][KEY]["schema_version"] = step + 1
    return document


def _read(root: Path) -> dict[str, Any] | None:
    try:
        document = json.loads((root / ROOT).read_bytes())
        whole = isinstance(document["attributes"][KEY]["schema_version"], int) and "metadata" in document["consolidated_metadata"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return document if whole else None


def make_room(root: Path, overwrite: bool) -> None:
    """Make sure that a new run can be created at `root`; `overwrite` deletes a run there, and never anything else.

    Raises StoreError where something exists.
    """
    if not root.exists() or is_unborn(root):
        return  # nothing, or what a writer left that was killed while creating
    if read_attributes(root) is None:
        raise StoreError(f"{root} exists and is not a stored run: choose a path that does not exist yet.")
    if not overwrite:
        raise StoreError(f"A run is stored at {root} already: choose another path, resume that run, or ask to overwrite it.")
    place = root.resolve()  # a symbolic link stays one
    deleted = place.with_name(f".{place.name}{DELETED}")
    lock = None
    try:
        lock = WriterLock(place)
        if deleted.exists():  # of a writer that was killed here
            shutil.rmtree(deleted)
        place.rename(deleted)  # at once: half of a run is never found in its place
        if root.is_symlink():
            place.mkdir()
        shutil.rmtree(deleted)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StoreError(f"The run at {root} cannot be overwritten ({reason}): delete it by hand, or choose another path.") from error
    finally:
        if lock is not None:
            lock.release()


def is_unborn(root: Path) -> bool:
    """Whether `root` is the folder of a run of which nothing was recorded yet."""
    return root.is_dir() and all(entry.name == LOCK or entry.name.endswith(PARTIAL) for entry in root.iterdir())


def events_to_json(events: Iterable[Event]) -> list[dict[str, Any]]:
    return [dict(vars(event)) for event in events]  # dataclasses.asdict copies deeply, ten times slower


def events_from_json(entries: Iterable[dict[str, Any]]) -> list[Event]:
    return [Event(**entry) for entry in entries]
