"""A stored run of very many steps, made within seconds for benchmarks: the default preset's own run, its rows at the edge repeated.

python benchmarks/stored.py FOLDER --steps 200000        prints the store's size

The numbers are those of a real run, and going on from it computes real steps from the real run's last state; the many steps between are
copies with other step numbers, so what it shows is no result.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from cflows_app.stored import stored_run
from cflows_core.presets import DEFAULT
from cflows_core.simulation import Simulation
from cflows_core.store import Recorder, Run

PLANNED = 1_000_000  # steps that the run could still make: it never ends while one looks


def make(folder: Path, steps: int) -> Path:
    """A run of so many steps in a new store in `folder`, named after what it is made of; the path."""
    shipped = stored_run(DEFAULT)
    assert shipped is not None, "the default preset has no stored run"
    run = Run.open(shipped.path)
    frames = list(run.frames())
    at_edge = [frame for frame in frames if frame.step > (run.config.warm_start + frames[-1].step) / 2]
    path = folder / f"{steps}-steps-of-{len(frames)}-repeated.zarr"
    config = run.config.replace(steps=PLANNED)
    checkpoint = run.checkpoint_path
    assert checkpoint is not None, "the shipped run has no checkpoint"
    with Recorder(path, config, shipped.facts.to_plain()) as recorder:
        for frame in frames:
            recorder.append(replace(frame, events=tuple(event for event in frame.events if event.kind != "finished")))
        end = frames[-1]
        for step in range(end.step + 1, steps + 1):
            frame, share = at_edge[step % len(at_edge)], step / end.step
            recorder.append(replace(frame, step=step, wall_time=share * end.wall_time, gradients=share * end.gradients, events=()))
        simulation = Simulation.load(checkpoint)
        simulation.config, simulation.step = config, steps
        recorder.checkpoint(simulation)
    return path


def size(path: Path) -> int:
    """Bytes of a store's files."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=200_000)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()
    path = make(arguments.folder, arguments.steps)
    print(f"{path}: {size(path) / 1e6:.0f} MB, made in {time.perf_counter() - begin:.0f} s")


if __name__ == "__main__":
    main()
