"""On a GPU: what the flows of a ViT and of a ResNet on CIFAR-10 cost, in gradients, kernel launches, kernel time and memory.

A thousand examples, as large as `--width` makes the networks (64: 154k and 225k weights; 128: 603k and 892k), squared error. Launches and
their time are those of a step, told by PyTorch's profiler. Without a GPU, `--device cpu` runs the same at a small size, and launches are
calls of PyTorch's operators.

make bench-gpu            or: python benchmarks/gpu.py [vit] [resnet] [--dtype float64] [--width 128]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import torch
from timing import Row, Walk, at_edge, beside_gradients, exponent, keep, row, seconds_of, show, top_value, trained
from torch.profiler import ProfilerActivity, profile

from cflows_core.cli.tables import console
from cflows_core.config import RunConfig
from cflows_core.errors import DataError
from cflows_core.problems.build import build_problem

ARCHITECTURES = ("vit", "resnet")


def kernels(step: Callable[[], object], device: torch.device, steps: int) -> tuple[float, float]:
    """(launches, seconds of kernels) of a step, the mean of so many; on a CPU (calls of operators, their seconds)."""
    with profile(activities=[ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            seconds_of(step, device)
    events = profiler.events() or []
    if device.type == "cuda":
        found = [event.time_range.elapsed_us() for event in events if event.device_type.name == "CUDA" and is_kernel(event.name)]
    else:
        found = [event.self_cpu_time_total for event in events if event.name.startswith("aten::")]
    return len(found) / steps, 1e-6 * sum(found) / steps


def is_kernel(name: str) -> bool:
    """Whether an event of the GPU is a kernel: neither a copy nor an annotation."""
    return not name.startswith(("Memcpy", "Memset", "ProfilerStep", "##", "aten::"))


def measured(name: str, config: RunConfig, device: torch.device, modes: Sequence[int], repeats: int, calls: int) -> list[Row]:
    """Rows of one architecture: below the edge, and at the edge with each number of modes."""
    problem = build_problem(config)
    objective, w = problem.objective, problem.weights
    size = f"{objective.n_params:,} weights, {str(objective.dtype)[6:]}, {objective.derivatives} derivatives"

    def gradient() -> object:
        return objective.loss_and_grad(w)

    def rows_of(title: str, walk: Walk) -> tuple[list[Row], float]:
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        found = beside_gradients(walk, gradient, repeats=repeats, calls=calls, device=device)
        note = walk.note
        launches, seconds = kernels(walk, device, calls if device.type == "cuda" else 1)
        rows = [
            row(f"{name}, {title}", "GE", [repeat.ratio for repeat in found], note=note),
            row(f"{name}, {title}: time", "ms", [1e3 * repeat.work for repeat in found]),
            row(f"{name}, {title}: launches", "a step", [launches]),
            row(f"{name}, {title}: kernels", "ms a step", [1e3 * seconds]),
        ]
        if device.type == "cuda":
            rows.append(row(f"{name}, {title}: peak memory", "GiB", [torch.cuda.max_memory_allocated(device) / 2**30]))
        return rows, rows[0].measured

    for _ in range(3):
        gradient()
    w = trained(objective, w, 30 * calls)
    times = [seconds_of(gradient, device) for _ in range(10)]
    launches, seconds = kernels(gradient, device, calls)
    rows = [row(f"{name}: one gradient", "ms", [1e3 * time for time in times], note=size)]
    rows += [row(f"{name}: one gradient: launches", "a call", [launches]), row(f"{name}: one gradient: kernels", "ms", [1e3 * seconds])]
    sharpness = top_value(objective, w)
    for flow in ("discrete", "central"):
        walk = Walk.begin(flow, RunConfig(lr=0.1 / sharpness, n_eigs=4), objective, w)
        for _ in range(4):
            walk()
        walk.forget()
        rows += rows_of(f"{flow} below the edge", walk)[0]
    held, costs, walk = [], [], None
    for k in modes:
        walk = at_edge(RunConfig(), objective, w, k, walk)
        more, cost = rows_of(f"central at the edge, k = {k}", walk)
        rows += more
        held.append(sum(walk.held) / len(walk.held))
        costs.append(cost)
        if k == 2:
            discrete = Walk.begin("discrete", RunConfig(lr=walk.flow.optimizer.lr, n_eigs=k + 2), objective, walk.state.point.w)
            discrete()
            discrete.forget()
            rows += rows_of(f"discrete at the edge, k = {k}", discrete)[0]
    if len(set(held)) > 1 and min(held) > 0:
        rows.append(row(f"{name}, central at the edge: GE against k", "exponent", [exponent(held, costs)], aim=1))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("architectures", nargs="*", metavar="architecture", help="vit, resnet; both without one")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "float64"], help="auto: float32 on a GPU")
    parser.add_argument("--width", type=int, help="of the networks (128; 8 on a CPU)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats of each measurement (3)")
    arguments = parser.parse_args()
    cuda = arguments.device == "cuda"
    if cuda and not torch.cuda.is_available():
        console().print("No CUDA GPU was found, so nothing was measured: `--device cpu` runs the same at a small size.")
        return
    torch.set_num_threads(1)
    modes, calls = ((1, 2, 4, 10), 10) if cuda else ((1, 2), 2)
    fields: dict[str, Any] = {"dataset": "cifar10", "n_train": 1000 if cuda else 50, "activation": "gelu", "dtype": arguments.dtype}
    rows = []
    for name in arguments.architectures or ARCHITECTURES:
        config = RunConfig(architecture=name, width=arguments.width or (128 if cuda else 8), device=arguments.device, **fields)
        try:
            found = measured(name, config, torch.device(arguments.device), modes, arguments.repeats, calls)
        except DataError as error:
            console().print(str(error))
            return
        show(found, name)
        rows += found
        keep("gpu" if cuda else "gpu-on-cpu", rows)


if __name__ == "__main__":
    main()
