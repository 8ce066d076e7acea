"""Live speed: steps a second of the presets with all four flows, and how soon a click shows its first step.

make bench            every preset whose data is found
"""

from __future__ import annotations

import asyncio
import time

import numpy as np
import torch
from timing import keep, row

from cflows_core.cli.tables import console
from cflows_core.engine import Engine
from cflows_core.presets import DEFAULT, PRESETS
from cflows_core.simulation import Simulation

SECONDS = 4.0


def simulated(name: str) -> tuple[int, float, float, dict[str, float]]:
    """(parameters, steps a second, eigenvalues tracked, gradients a step by flow) after the warm start, in this process."""
    config = PRESETS[name].config
    simulation = Simulation(config)
    if config.warm_start:
        simulation.advance(steps=config.warm_start + 5)
    before = {flow: simulation.spent(flow) for flow in config.flows}
    begin = time.perf_counter()
    frames = simulation.advance(seconds=SECONDS)
    seconds = time.perf_counter() - begin
    spent = {flow: (simulation.spent(flow) - before[flow]) / len(frames) for flow in config.flows}
    known = [np.isfinite(frame.flows["central"].get("effective_eigs", np.nan)).sum() for frame in frames]
    tracked = float(np.mean(known))
    return simulation.objective.n_params, len(frames) / seconds, tracked, spent


async def engine() -> tuple[float, float, float]:
    """(seconds to start a worker, from Run to the first step, steps a second) of the default preset as the dashboard runs it."""
    begin = time.perf_counter()
    async with await Engine.local() as local:
        started = time.perf_counter() - begin
        await local.ready()
        runner = await local.start(PRESETS[DEFAULT].config)
        await runner.step(PRESETS[DEFAULT].config.warm_start + 5)
        cursor = len(runner.frames)
        begin = time.perf_counter()
        runner.run()
        await runner.wait_for(cursor, 30)
        first = time.perf_counter() - begin
        await asyncio.sleep(SECONDS)
        await runner.paused()
        rate = (len(runner.frames) - cursor) / (time.perf_counter() - begin)
        return started, first, rate


def main() -> None:
    from rich.table import Table
    from rich.text import Text

    out = console()
    out.print(Text(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads"))
    table = Table(box=None, pad_edge=False)
    for heading in ("preset", "parameters", "steps/s", "eigenvalues", "gradients a step"):
        table.add_column(heading, justify="left" if heading == "preset" else "right")
    rows = []
    for name, preset in PRESETS.items():
        if preset.available():
            out.print(Text(f"{name}: {preset.available()}"))
            continue
        parameters, rate, tracked, spent = simulated(name)
        costs = ", ".join(f"{flow} {cost:.0f}" for flow, cost in spent.items())
        table.add_row(name, f"{parameters:,}", f"{rate:.0f}", f"{tracked:.1f}", costs)
        rows.append(row(name, "steps/s", [rate], note=f"{parameters:,} weights, {tracked:.1f} eigenvalues"))
        rows += [row(f"{name}: {flow}", "gradients a step", [cost]) for flow, cost in spent.items()]
        keep("speed", rows)
    out.print(table)
    started, first, rate = asyncio.run(engine())
    out.print(Text(f"{DEFAULT} in a worker: started in {started:.2f} s, first step {1000 * first:.0f} ms after Run, {rate:.0f} steps/s"))
    title = f"{DEFAULT} in a worker"
    rows += [row(f"{title}: start", "s", [started]), row(f"{title}: first step", "ms", [1000 * first]), row(title, "steps/s", [rate])]
    keep("speed", rows)


# Workers are spawned, and a spawned process imports the main module again.
if __name__ == "__main__":
    main()
