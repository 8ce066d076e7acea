"""What `cflows check --repair` does to a damaged run. Nothing that was ever committed is thrown away: it is put aside.

Every function returns what it did, and what is lost, in words. They are called by who holds the writer's lock; all raise OSError.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from cflows_core.config import RunConfig
from cflows_core.errors import CflowsError, StoreError
from cflows_core.simulation import read_checkpoint
from cflows_core.store.arrays import ArraySpec
from cflows_core.store.document import SCHEMA_VERSION, read_document, tree
from cflows_core.store.files import LOCK, ROOT, dumps, remove_leftovers, replace_file
from cflows_core.store.run import CHECKPOINT

ASIDE = ".aside"  # ending of what a repair has put aside


def write_root(root: Path, specs: list[ArraySpec], attributes: dict[str, Any]) -> None:
    """Replace the root document; the former one stays as `zarr.json.aside`, or the first after it that is free."""
    if (root / ROOT).exists():
        replace_file(_aside(root / ROOT), (root / ROOT).read_bytes(), sync=True)
    replace_file(root / ROOT, dumps(tree(specs, attributes["rows"], attributes)[""]), sync=True)


def _aside(path: Path) -> Path:
    return next(name for n in count(1) if not (name := path.with_name(f"{path.name}{ASIDE}{n if n > 1 else ''}")).exists())


def migrate(root: Path) -> str:
    attributes, specs = read_document(root)
    write_root(root, specs, attributes)
    return f"migrated to schema {SCHEMA_VERSION} (the former root document is {ROOT}{ASIDE})"


def restore_coordinate(root: Path, name: str) -> str:
    """`step` or `wall_time` from the copy that the discrete flow's group has."""
    attributes, specs = read_document(root)
    array = {spec.path: spec for spec in specs}
    rows = attributes["rows"]
    array[name].write(root, 0, array[f"discrete/{name}"].read(root, rows)[0])
    array[name].sync(root, 0, rows)
    return f"`{name}` restored from its copy in the group `discrete`"


def cut(root: Path, rows: int) -> str:
    """Let only the first `rows` rows count."""
    attributes, specs = read_document(root)
    lost = attributes["rows"] - rows
    last = {spec.path: spec for spec in specs}["step"].read(root, rows)[0][-1] if rows else -1
    events = [event for event in attributes["events"] if event["step"] <= last]
    write_root(root, specs, attributes | {"rows": rows, "events": events, "closed": False})
    return f"cut back to {rows:,} whole steps ({lost:,} given up, which resume computes again; the former root document is {ROOT}{ASIDE})"


def set_checkpoint_aside(root: Path) -> str:
    place = (root / CHECKPOINT).replace(_aside(root / CHECKPOINT))
    return f"the checkpoint put aside as {place.name} (resume computes the run again from its beginning)"


def write_members(root: Path) -> str:
    attributes, specs = read_document(root)
    for name, document in tree(specs, attributes["rows"], {}).items():
        if name:
            (root / name).mkdir(exist_ok=True)
            replace_file(root / name / ROOT, dumps(document))
    for spec in specs:
        spec.write_metadata(root, attributes["rows"])
    return "documents of groups and arrays written from the root document"


def clear_leftovers(root: Path) -> str:
    remove_leftovers(root)
    return "leftovers of a killed writer removed"


def remove_unborn(root: Path) -> str:
    remove_leftovers(root)
    (root / LOCK).unlink(missing_ok=True)
    root.rmdir()
    return "the empty folder removed"


def finish_deleting(folder: Path) -> str:
    shutil.rmtree(folder)
    return "deleted, as was begun"


def restorable(root: Path) -> tuple[list[ArraySpec], dict[str, Any]]:
    """Arrays and attributes for a new root document: from the arrays' own documents and the checkpoint's configuration.

    Events, versions and facts are in the root document only. Raises StoreError where too little is left.
    """
    checkpoint = read_checkpoint(root / CHECKPOINT)
    specs, rows = [], 0
    for file in sorted([*root.glob(f"*/{ROOT}"), *root.glob(f"*/*/{ROOT}")]):
        path = file.parent.relative_to(root).as_posix()
        try:
            document = json.loads(file.read_bytes())
            if document["node_type"] == "array":
                specs.append(ArraySpec.from_metadata(path, document))
            if path == "step":
                rows = int(document["shape"][0])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise StoreError(f"the document of {path} is damaged too") from None
    if not {"step", "wall_time", "gradients"} <= {spec.path for spec in specs}:
        raise StoreError("the documents of its arrays are gone too")
    try:
        config = RunConfig.from_json(checkpoint["config"])
    except CflowsError as error:
        raise StoreError(f"the checkpoint's configuration is not valid ({error})") from None
    made = datetime.fromtimestamp((root / CHECKPOINT).stat().st_mtime, UTC)
    attributes = {
        "created": made.isoformat(timespec="seconds"),
        "restored": datetime.now(UTC).isoformat(timespec="seconds"),
        "own_objective": bool(checkpoint.get("own_objective")),
        "schema_version": SCHEMA_VERSION,
        "rows": rows,
        "closed": False,
        "config": config.to_dict(),
        "config_hash": config.hash,
        "events": [],
    }
    return specs, attributes


def restore_root(root: Path) -> str:
    specs, attributes = restorable(root)
    write_root(root, specs, attributes)
    return (
        f"root document restored from the arrays' documents and the checkpoint, with {attributes['rows']:,} steps (lost: its events up to "
        "there and the versions it was made with)"
    )
