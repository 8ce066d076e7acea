"""`cflows doctor`: what is installed, what it computes on, the data it finds, and a self-check with a known answer."""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Iterable
from importlib import metadata

import numpy as np

from cflows_core._version import __version__
from cflows_core.cli.tables import console

# Where an extra's packages are looked up when the distribution's own metadata is absent (a bare copy of the source).
_BASE = ("torch", "numpy", "scipy", "param", "clarabel", "xarray", "zarr", "scikit-learn", "pooch", "rich")


def packages() -> list[tuple[str, str, str]]:
    """(package, installed version or "", extra that asks for it or ""), the base ones first. Imports none of them."""
    try:
        requirements = metadata.requires("cflows") or []
    except metadata.PackageNotFoundError:
        requirements = list(_BASE)
    found: dict[str, tuple[str, str]] = {}
    for requirement in requirements:
        name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
        extra = re.search(r"extra == ['\"]([^'\"]+)['\"]", requirement)
        if name != "cflows":
            found.setdefault(name, (_version(name), extra[1] if extra else ""))
    return [(name, version, extra) for name, (version, extra) in found.items()]


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def machine() -> list[tuple[str, str]]:
    """What computes: Python, the processor, threads, devices."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [
        ("cflows", f"{__version__}, Python {platform.python_version()} on {platform.system()} {platform.machine()}"),
        ("processor", f"{cores} cores for this process, {torch.get_num_threads()} threads in PyTorch"),
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            found.append((f"cuda:{index}", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"))
    else:
        found.append(("cuda", "no CUDA device: runs use the processor"))
    return found


def data() -> list[tuple[str, str]]:
    """Which data sets can be loaded without the network, and where the others are looked for."""
    from cflows_core.problems import datasets

    return [(name, datasets.describe(name)) for name in datasets.NAMES]


def self_check() -> tuple[bool, str]:
    """Whether gradient descent and its central flow give a known answer, and run on real data; and a sentence about it.

    The answer (ours): `L(x, y) = ½ y x² - a y` has sharpness y in the direction of x, and its central flow, once y has
    risen to the edge, stays at `y = 2/η` with `Σ = 2a`, where the oscillation's pull on y balances its drift.
    """
    import torch

    from cflows_core.config import RunConfig
    from cflows_core.errors import CflowsError
    from cflows_core.problems.objective import Objective
    from cflows_core.simulation import Simulation

    begin = time.perf_counter()
    lr, drift = 0.1, 1.0
    try:
        valley = Objective.from_function(lambda w: 0.5 * w[1] * w[0] ** 2 - drift * w[1], 2)
        start = torch.tensor([0.1, 0.97 * 2 / lr], dtype=torch.float64)
        config = RunConfig(lr=lr, steps=20, flows=("central",), n_eigs=2, observe=())
        central = Simulation(config, valley, start).advance(steps=21)[-1].flows["central"]
        digits = RunConfig(n_train=50, width=4, steps=3, flows=("central",), n_eigs=2, observe=())
        loss = Simulation(digits).advance(steps=4)[-1].flows["central"]["loss"]
    except CflowsError as error:
        return False, f"The self-check failed: {error}"
    edge = abs(float(np.ravel(central["effective_eigs"])[0]) / 2 - 1)
    variance = abs(float(np.ravel(central["covariance_eigs_weights"])[0]) / (2 * drift) - 1)
    # Both are exact up to the eigensolver's tolerance.
    passed = edge < 1e-5 and variance < 1e-3 and bool(np.isfinite(loss))
    verdict = "passed" if passed else "failed"
    return passed, (
        f"self-check {verdict}: the central flow holds the sharpness at 2/η within {edge:.1e} and Σ at its closed "
        f"form within {variance:.1e}, and runs on digits ({time.perf_counter() - begin:.1f} s)"
    )


def run() -> int:
    """Print everything; 0 if the self-check passed, else 1."""
    from rich.table import Table
    from rich.text import Text

    out = console()

    def table(title: str, rows: Iterable[tuple[str, ...]]) -> None:
        grid = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False)
        for row in rows:
            grid.add_row(*map(Text, row))
        out.print(grid)
        out.print()

    table("Machine", machine())
    table("Packages", [(name, version or _missing(extra), extra) for name, version, extra in packages()])
    table("Data", data())
    passed, sentence = self_check()
    out.print(Text(sentence, style="green" if passed else "bold red"))
    return 0 if passed else 1


def _missing(extra: str) -> str:
    return f"not installed: pip install 'cflows[{extra}]'" if extra else "not installed, and needed: pip install cflows"
