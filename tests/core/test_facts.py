"""What a run says of itself, live and from its document."""

from __future__ import annotations

import pytest
import torch

from cflows_core.config import RunConfig
from cflows_core.facts import DERIVATIVES, Facts
from cflows_core.problems.objective import Objective
from cflows_core.running import run


@pytest.mark.parametrize(("dtype", "derivatives"), [(torch.float64, "differences"), (torch.float32, "exact")])
def test_what_automatic_came_to_is_said(dtype: torch.dtype, derivatives: str) -> None:
    """`auto` takes differences where float64 allows them: the record says which of the two, not "auto"."""
    objective = Objective.from_module(torch.nn.Linear(2, 1), torch.ones(3, 2), torch.ones(3, 1), dtype=dtype)
    facts = Facts.of(objective)
    assert (facts.parameters, facts.device, facts.derivatives) == (3, "cpu", derivatives)
    assert facts.how == DERIVATIVES[derivatives]
    assert Facts.from_plain(facts.to_plain()) == facts


def test_a_stored_run_knows_them() -> None:
    facts = Facts.from_plain(run(RunConfig(width=4, depth=1, n_train=10, steps=1, observe=[]), progress=False).meta)
    assert (facts.device, facts.dtype, facts.derivatives) == ("cpu", "float64", "differences")
    assert facts.threads == torch.get_num_threads()


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (Facts(), ""),
        (Facts(device="cpu"), "CPU"),
        (Facts(device="cpu", threads=1), "CPU, 1 thread"),
        (Facts(device="cpu", threads=4), "CPU, 4 threads"),
        (Facts(device="cuda:0", threads=4), "cuda:0"),
        (Facts(device="cuda:0", device_name="A GPU"), "A GPU"),
    ],
)
def test_a_device_in_words(facts: Facts, words: str) -> None:
    assert facts.where == words
    assert facts.how == ""
