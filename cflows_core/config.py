"""`RunConfig`: the one schema of a run. Command line, URL, widgets, hash and files all derive from its parameters."""

from __future__ import annotations

import difflib
import hashlib
import json
from functools import cached_property
from typing import Any, ClassVar

import param

from cflows_core.errors import ConfigError
from cflows_core.fields import GROUPS, LIVE, UNITS, DataSelector, accepted, accepted_changes
from cflows_core.rules import ABLATIONS, BY_FILE, check_together
from cflows_core.schedules import schedule_from

FLOW_NAMES = ("discrete", "stable", "central", "rod")
OPTIMIZER_NAMES = ("gd", "heavy_ball", "nesterov", "scalar_rmsprop", "scalar_adam", "scalar_nadam", "rmsprop", "adam", "nadam")
OBSERVABLES = {
    "test": "loss and accuracy on the test examples (one forward pass a step)",
    "valley": "positions in the plane of the top eigenvector and the direction of slow motion",
    "outputs": "the network's outputs on the first test example",
    "average": "loss at the iterates' exponential moving average (one forward pass a step)",
    "coordinates": "ν, squared gradients and step sizes of ten weights spread over the network",
    "stationary": "RMSProp's central flow against the stationary preconditioner (found every ten steps, for hundreds of gradients)",
}


class RunConfig(param.Parameterized):
    """A complete, immutable description of a run.

    Equal configurations on one machine with equal `threads` give runs that are equal bit for bit. Raises `ConfigError`, one sentence
    with the rule, the value and the remedy, for anything out of bounds.

    >>> RunConfig(lr=0.15, steps=100).replace(seed=1).seed
    1
    """

    # Problem
    dataset = DataSelector(
        default="digits",
        objects=["digits", "cifar10", "sorting", "chebyshev"],
        constant=True,
        label="Data",
        doc="Training data: real images, sequences to be sorted, a polynomial to be fitted, or a file of your own (--problem).",
    )
    degree = param.Integer(
        default=3, bounds=(1, 12), softbounds=(2, 6), constant=True, label="Degree", doc="Degree of the Chebyshev polynomial."
    )
    architecture = param.Selector(
        default="mlp",
        objects=["mlp", "cnn", "resnet", "vit", "lstm", "transformer", "mamba"],
        constant=True,
        label="Model",
        doc="Architecture of the network; lstm, transformer and mamba read an image row by row.",
    )
    width = param.Integer(
        default=16,
        bounds=(1, 4096),
        softbounds=(8, 64),
        constant=True,
        label="Width",
        doc="Units of a hidden layer, channels, or numbers a token; a multiple of 4 for resnet, vit and transformer.",
    )
    depth = param.Integer(default=2, bounds=(1, 64), softbounds=(1, 6), constant=True, label="Depth", doc="Hidden layers, or blocks.")
    activation = param.Selector(
        default="tanh",
        objects=["gelu", "tanh", "silu", "relu", "gelu_relu"],
        constant=True,
        label="Activation",
        doc="Non-linearity; gelu_relu interpolates between GeLU and ReLU.",
    )
    activation_mix = param.Number(
        default=0.0,
        bounds=(0.0, 1.0),
        constant=True,
        label="GeLU to ReLU",
        doc="Position of gelu_relu between GeLU (0) and ReLU (1); other activations ignore it.",
    )
    criterion = param.Selector(
        default="mse",
        objects=["mse", "cross_entropy"],
        constant=True,
        label="Loss",
        doc="Mean squared error, ½Σ(f − y)² an example, or cross-entropy.",
    )
    targets = param.Selector(
        default="onehot",
        objects=["onehot", "signed"],
        constant=True,
        label="Targets",
        doc="One output a class, or ±1 from a single output (two classes and mean squared error only).",
    )
    head_scale = param.Number(
        default=1.0,
        bounds=(0.0, None),
        inclusive_bounds=(False, True),
        softbounds=(0.01, 2.0),
        constant=True,
        label="Head scale",
        doc="Factor on the initial weights of the output layer; small values start in a flat region.",
    )
    n_train = param.Integer(
        default=300,
        bounds=(1, 50_000),
        softbounds=(50, 1500),
        constant=True,
        label="Training examples",
        doc="The first n examples; every step uses all of them.",
    )
    classes = param.Integer(
        default=10, bounds=(2, 10), constant=True, label="Classes", doc="Only images of the first so many classes are used."
    )
    # Optimizer
    optimizer = param.Selector(
        default="gd",
        objects=list(OPTIMIZER_NAMES),
        constant=True,
        label="Optimizer",
        doc="The discrete optimizer and the one its flows describe.",
    )
    lr = param.Number(
        default=0.3,
        bounds=(0.0, None),
        inclusive_bounds=(False, True),
        softbounds=(0.01, 2.0),
        constant=True,
        label="Learning rate η",
        doc="Step size; gradient descent's edge of stability lies at sharpness 2/η.",
    )
    schedule = param.String(
        default="constant",
        constant=True,
        label="Schedule",
        doc="Factor on η over the steps: constant, warmup(50), cosine(300, 0.1) or step(100, 0.5).",
    )
    beta1 = param.Number(
        default=0.9,
        bounds=(0.0, 1.0),
        inclusive_bounds=(True, False),
        softbounds=(0.0, 0.99),
        constant=True,
        label="Momentum β₁",
        doc="Averaging of gradients, in the optimizers that have momentum.",
    )
    beta2 = param.Number(
        default=0.99,
        bounds=(0.0, 1.0),
        softbounds=(0.5, 0.999),
        constant=True,
        label="Averaging β₂",
        doc="Averaging of squared gradients, in the adaptive optimizers.",
    )
    eps = param.Number(
        default=1e-8,
        bounds=(0.0, None),
        softbounds=(1e-10, 1e-2),
        constant=True,
        label="Epsilon ε",
        doc="Added to the root of ν, outside it, in the adaptive optimizers.",
    )
    bias_correction = param.Selector(
        default="auto",
        objects=["auto", "on", "off"],
        constant=True,
        label="Bias correction",
        doc="Of the averages' start; auto: on for the Adam and NAdam kinds, off for the RMSProp kinds.",
    )
    # Flows
    flows = param.ListSelector(
        default=list(FLOW_NAMES),
        objects=[*FLOW_NAMES, *ABLATIONS],
        constant=True,
        label="Flows",
        doc="What runs side by side; the discrete optimizer always does. "
        "For comparison: " + ", ".join(f"{flow} ({' or '.join(optimizers)})" for flow, optimizers in ABLATIONS.items()) + ".",
    )
    steps = param.Integer(
        default=1000,
        bounds=(1, 10_000_000),
        softbounds=(100, 10_000),
        constant=True,
        label="Steps",
        doc="Optimizer steps after the warm start.",
    )
    warm_start = param.Integer(
        default=0,
        bounds=(0, 10_000_000),
        softbounds=(0, 2000),
        constant=True,
        label="Warm start",
        doc="Optimizer steps before the flows start, from the centre of two consecutive iterates.",
    )
    substeps = param.Integer(
        default=2,
        bounds=(1, 64),
        softbounds=(1, 8),
        constant=True,
        label="Substeps",
        doc="Substeps of the flows in one optimizer step.",
    )
    n_eigs = param.Integer(
        default=6,
        bounds=(1, 32),
        softbounds=(1, 12),
        constant=True,
        label="Eigenvalues",
        doc="The most eigenvalues tracked; a flow tracks as many as come near the edge.",
    )
    rod_rank = param.Integer(
        default=4, bounds=(1, 32), softbounds=(1, 8), constant=True, label="Rod rank", doc="Rank kept of the rod's extent tensor."
    )
    rod_coordinates = param.Selector(
        default="balanced",
        objects=["balanced", "raw"],
        constant=True,
        label="Rod coordinates",
        doc="Where the rod's extent is truncated: weights and momentum balanced by the preconditioner, or as they are.",
    )
    rod_correction = param.Selector(
        default="none",
        objects=["none", "backward_error"],
        constant=True,
        label="Rod correction",
        doc="backward_error: the rod's centre follows the difference equation to second order, for two Hessian products a substep.",
    )
    derivatives = param.Selector(
        default="auto",
        objects=["auto", "exact", "differences"],
        constant=True,
        label="Derivatives",
        doc="Hessian and third-derivative products by nested differentiation or by differences of gradients.",
    )
    # Run
    seed = param.Integer(
        default=0, bounds=(0, 2**31 - 1), softbounds=(0, 99), constant=True, label="Seed", doc="Seed of the initial weights."
    )
    dtype = param.Selector(
        default="auto",
        objects=["auto", "float64", "float32"],
        constant=True,
        label="Precision",
        doc="auto: float64 on a CPU, float32 on a GPU.",
    )
    device = param.Selector(
        default="auto",
        objects=["auto", "cpu", "cuda"],
        constant=True,
        label="Device",
        doc="auto: a CUDA GPU for models of 100,000 parameters or more if there is one, else the CPU.",
    )
    threads = param.Integer(
        default=0,
        bounds=(0, 1024),
        softbounds=(0, 16),
        constant=True,
        label="Threads",
        doc="CPU threads of PyTorch; 0 leaves the machine's setting. The number used is recorded.",
    )
    max_memory = param.Number(
        default=2.0,
        bounds=(0.0, None),
        inclusive_bounds=(False, True),
        softbounds=(0.1, 64.0),
        constant=True,
        label="Memory bound",
        doc="Bound for activations kept by one derivative; data is processed in chunks to stay below.",
    )
    observe = param.ListSelector(
        default=["test", "valley"],
        objects=list(OBSERVABLES),
        constant=True,
        label="Observe",
        doc="What is measured beyond the flows: " + "; ".join(f"{k}: {v}" for k, v in OBSERVABLES.items()) + ".",
    )
    record_every = param.Integer(
        default=1, bounds=(1, 100_000), softbounds=(1, 100), constant=True, label="Record every", doc="Steps between recorded frames."
    )
    checkpoint_every = param.Integer(
        default=200,
        bounds=(1, 1_000_000),
        softbounds=(10, 1000),
        constant=True,
        label="Checkpoint every",
        doc="Steps between checkpoints of a stored run.",
    )
    changes = param.Parameter(
        default=(), constant=True, label="Changes", doc="What is changed while running: (step, field, value), applied from that step on."
    )

    GROUPS: ClassVar[dict[str, tuple[str, ...]]] = GROUPS
    LIVE: ClassVar[tuple[str, ...]] = LIVE
    UNITS: ClassVar[dict[str, str]] = UNITS

    def __init__(self, **fields: Any):
        known = self.fields()
        for name in fields:
            if name not in known:
                close = difflib.get_close_matches(name, known, n=2)
                hint = f"did you mean {' or '.join(close)}?" if close else f"known fields are {', '.join(known)}."
                raise ConfigError(f"A run has no field `{name}`: {hint}")
        clean = {name: self._coerce(name, value) for name, value in fields.items()}
        super().__init__(**clean)
        check_together(self)

    @classmethod
    def fields(cls) -> tuple[str, ...]:
        """Names of all fields, in the order of their groups."""
        return tuple(name for group in cls.GROUPS.values() for name in group)

    @classmethod
    def check(cls, name: str, value: Any) -> Any:
        """The value that a field takes for `value`; raises `ConfigError` if the field cannot take it."""
        return cls._coerce(name, value)

    @classmethod
    def _coerce(cls, name: str, value: Any) -> Any:
        if name == "changes":
            return accepted_changes(value, cls.LIVE, cls._coerce)
        value = accepted(name, cls.param[name], value)
        if name == "schedule":
            schedule_from(value)
        if name == "flows" and "discrete" not in value:
            value = ["discrete", *value]
        return value

    def replace(self, **fields: Any) -> RunConfig:
        """A copy with some fields changed."""
        return RunConfig(**{**self.to_dict(), **fields})

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain Python values, ready for JSON."""
        plain: dict[str, Any] = {name: getattr(self, name) for name in self.fields()}
        plain["flows"], plain["observe"] = list(self.flows), list(self.observe)
        plain["changes"] = [list(change) for change in self.changes]
        return plain

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> RunConfig:
        return cls(**plain)

    def to_json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> RunConfig:
        try:
            plain = json.loads(text)
        except json.JSONDecodeError as error:
            raise ConfigError(f"A configuration must be JSON, but reading it failed at character {error.pos}: {error.msg}.") from None
        if not isinstance(plain, dict):
            raise ConfigError(f"A configuration must be a JSON object of fields, got {type(plain).__name__}.")
        return cls(**plain)

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that equal configurations, and only they, share."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, RunConfig) and self.to_dict() == other.to_dict())

    def __hash__(self) -> int:
        return int(self.hash, 16)

    def __str__(self) -> str:
        return repr(self)

    def __repr__(self) -> str:
        changed = {k: v for k, v in self.to_dict().items() if v != _plain_default(self.param[k])}
        return "RunConfig(" + ", ".join(f"{k}={v!r}" for k, v in changed.items()) + ")"


def _plain_default(parameter: Any) -> Any:
    return list(parameter.default) if isinstance(parameter.default, (tuple, list)) else parameter.default


def problem_of_file(dataset: str) -> dict[str, Any]:
    """The fields that name a problem file, what the file decides at its defaults."""
    return {"dataset": dataset, **{name: _plain_default(RunConfig.param[name]) for name in BY_FILE}}
