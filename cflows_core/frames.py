"""What one step of a simulation produces: a `Frame` of named series, and the registry that documents every series.

Store, dashboard, figures and notebooks read `SERIES`; a quantity is named, given its dimensions, its unit and its sentence here only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

Value = float | np.ndarray


@dataclass(frozen=True)
class Event:
    """Something that a reader should be told, in one sentence.

    step: optimizer step. flow: the flow concerned, "" for the whole run.
    kind: "start", "settling", "settled", "rank", "stopped", "change", "note", "diverged" or "finished".
    """

    step: int
    flow: str
    kind: str
    message: str


@dataclass(frozen=True)
class Frame:
    """One optimizer step of every flow.

    step: optimizer step t, those of the warm start included (the flows' first frame has `step == config.warm_start`).
    wall_time: seconds of computing since the run began.
    gradients: gradient-equivalents spent by all flows so far (one: a full-batch gradient).
    flows: flow -> series -> value; dimensions beyond the step are those of `SERIES`.
    distance: flow -> Euclidean distance to the discrete centre (math.md 9).
    status: flow -> "running", "settling" or "stopped"; a flow that has not started is absent.
    """

    step: int
    wall_time: float
    gradients: float
    flows: dict[str, dict[str, Value]]
    distance: dict[str, float] = field(default_factory=dict)
    status: dict[str, str] = field(default_factory=dict)
    events: tuple[Event, ...] = ()


COORDINATES = 10  # weights whose own series are kept ([CF] Fig. 20)
STATUSES = ("not started", "running", "settling", "stopped")


@dataclass(frozen=True)
class Series:
    """A named quantity over the steps: its further dimensions, unit ("" if none) and one sentence of documentation.

    Dimensions: `mode` (config.n_eigs, NaN where fewer exist), `axis` (the two directions of the valley), `pair` (11, 12 and 22
    entries of a symmetric 2 x 2 matrix), `output` (the network's outputs), `coordinate` (ten weights, NaN where fewer have a gradient).
    """

    name: str
    dims: tuple[str, ...]
    unit: str
    doc: str
    flows: tuple[str, ...]


_D, _S, _C, _R = "discrete", "stable", "central", "rod"
_N, _M, _P, _L = "central_no_curvature", "modified", "stationary", "stationary_limit"
_SIGMA = (_C, _N, _P, _L)  # the flows that know the oscillations' covariance
_FLOWS = (_S, _C, _R, _N, _M, _P, _L)
_ALL = (_D, *_FLOWS)
_ADAPTED = (_D, _S, _C, _R, _N, _P, _L)  # where an adaptive optimizer's ν is


def _registry(*series: Series) -> dict[str, Series]:
    return {entry.name: entry for entry in series}


SERIES: dict[str, Series] = _registry(
    Series("loss", (), "", "Training loss at the iterate (discrete) or at the flow's own point.", _ALL),
    Series("loss_midpoint", (), "", "Training loss at the second-order midpoint w* = (2w_t + w_{t+1} + w_{t-1})/4.", (_D,)),
    Series("grad_norm_sq", (), "", "Squared Euclidean norm of the training gradient.", _ALL),
    Series(
        "effective_eigs",
        ("mode",),
        "",
        "Largest eigenvalues of the effective Hessian P⁻¹H, descending (discrete: at midpoints); the edge is at c, 2 for gradient descent.",
        _ALL,
    ),
    Series("hessian_eigs", ("mode",), "1/lr", "Largest eigenvalues of the Hessian at the midpoint, descending.", (_D,)),
    Series("test_loss", (), "", "Loss on the test examples at the iterate.", (_D,)),
    Series("test_accuracy", (), "", "Share of test examples classified correctly at the iterate.", (_D,)),
    Series("half_difference", (), "weights", "Norm of half the difference of consecutive iterates, |w_t - w_{t+1}|/2.", (_D,)),
    Series(
        "nu_norm", (), "", "Norm of the average of squared gradients ν (its value for the scalar kind), after the step's update.", _ADAPTED
    ),
    Series("effective_step_size", (), "step size", "Mean over the weights of the effective step size 1/P.", _ADAPTED),
    Series("effective_step_size_harmonic", (), "step size", "Harmonic mean over the weights of the effective step size 1/P.", _ADAPTED),
    Series("momentum_half_difference", (), "gradients", "Norm of half the difference of consecutive momenta, |m_t - m_{t+1}|/2.", (_D,)),
    Series("path_length", (), "weights", "Length of the discrete midpoints' path since the flows started.", (_D,)),
    Series(
        "displacement",
        (),
        "weights",
        "Oscillation (2w_t - w_{t+1} - w_{t-1})/4 along the top mode that was fixed on reaching the edge.",
        (_D,),
    ),
    Series(
        "period",
        (),
        "steps",
        "Period of the oscillation along that mode over the last 40 steps: 1 (at rest), 2, 4, or 0 (another, or none).",
        (_D,),
    ),
    Series("loss_average", (), "", "Training loss at the iterates' exponential moving average (0.9 of itself a step).", (_D,)),
    Series("average_distance", (), "weights", "Distance of that average to the discrete centre.", (_D,)),
    Series(
        "grad_sq_coordinates",
        ("coordinate",),
        "",
        "Squared gradient of ten weights: the optimizer's own, or what a flow predicts of its time average, ∇L² + diag(HΣH) ([CF] eq. 33).",
        _ALL,
    ),
    Series("nu_coordinates", ("coordinate",), "", "ν of ten weights, after the step's update (RMSProp, Adam and NAdam).", _ADAPTED),
    Series("step_size_coordinates", ("coordinate",), "step size", "Effective step size 1/P of ten weights.", _ADAPTED),
    Series("nu_stationary_cosine", (), "", "Cosine between ν and its stationary value ν̄(w), found every ten steps ([CF] Fig. 20).", (_C,)),
    Series("nu_stationary_coordinates", ("coordinate",), "", "Stationary value ν̄(w) of ν at the ten weights.", (_C,)),
    Series("speed_stationary", (), "1/step", "|∇L|² in the metric of the inverse stationary preconditioner, [CF] eq. 35 (Fig. 21).", (_C,)),
    Series("speed_minimal_trace", (), "1/step", "The same of the preconditioner of least trace, [CF] eq. 36 (Fig. 21).", (_C,)),
    Series("speed_vanilla", (), "1/step", "The same of gradient descent at its largest stable learning rate, P = S/2 (Fig. 21).", (_C,)),
    Series(
        "grad_projection_sq",
        ("mode",),
        "",
        "Squared gradient along each tracked mode, (u_i·∇L)²/(u_i·u_i), the modes of the midpoint.",
        (_D,),
    ),
    Series("outputs", ("output",), "", "The network's outputs on the first test example.", _ALL),
    Series(
        "predicted_outputs",
        ("output",),
        "",
        "Predicted time average of the optimizer's outputs: f + ½⟨∇²f,Σ⟩ (central flow), the mean over both ends (rod flow).",
        (_C, _R),
    ),
    Series(
        "valley",
        ("axis",),
        "weights",
        "Position relative to the valley's origin, along the top eigenvector and along the direction of slow motion.",
        _ALL,
    ),
    Series("valley_centre", ("axis",), "weights", "The discrete centre in the valley's coordinates.", (_D,)),
    Series("valley_basis", (), "step", "The step at which the valley's basis was fixed: equal values share one basis.", (_D,)),
    Series("gradients", (), "gradients", "Gradient-equivalents spent by this flow so far.", _ALL),
    Series(
        "predicted_loss",
        (),
        "",
        "Predicted time average of the optimizer's loss: L + ½⟨H,Σ⟩ (central flow, [CF] eq. 23), the mean over both ends (rod flow).",
        (*_SIGMA, _R),
    ),
    Series(
        "predicted_grad_norm_sq",
        (),
        "",
        "Predicted time average of the optimizer's squared gradient: |∇L|² + tr(HΣH) (central flow), the mean over both ends (rod flow).",
        (*_SIGMA, _R),
    ),
    Series(
        "covariance_eigs",
        ("mode",),
        "P-metric",
        "Predicted oscillation variances: eigenvalues of P^½ΣP^½, descending.",
        _SIGMA,
    ),
    Series(
        "covariance_eigs_weights", ("mode",), "weights²", "Eigenvalues of Σ itself, descending (Nesterov: of the gradient points).", _SIGMA
    ),
    Series(
        "measured_variance",
        ("mode",),
        "P-metric",
        "Squared displacement of the optimizer along each eigenvector v_i of Σ, (v_iᵀP(w_t - w(t)))²; smoothed, as covariance_eigs.",
        (_C,),
    ),
    Series(
        "sharpening",
        (),
        "1/step",
        "Change of the top effective eigenvalue a step that the stable motion alone would cause (first term of [CF] eq. 12).",
        (_C, _N),
    ),
    Series(
        "sharpness_reduction",
        (),
        "1/step",
        "Change of the top effective eigenvalue a step that the oscillations cause (second term of [CF] eq. 12).",
        (_C, _N),
    ),
    Series("rank", (), "", "Rank of Σ: the number of oscillating modes.", _SIGMA),
    Series(
        "sdcp_residual",
        (),
        "",
        "Largest relative residual of the complementarity problem in this step, or error of the preconditioner's tangent in it.",
        _SIGMA,
    ),
    Series("valley_covariance", ("pair",), "weights²", "Σ in the valley's coordinates.", (_C,)),
    Series("extent", (), "weights", "Half-length of the rod, |ζ|.", (_R,)),
    Series("momentum_extent", (), "gradients", "Half-length of the rod's part in the momentum.", (_R,)),
    Series(
        "extent_eigs",
        ("mode",),
        "",
        "Eigenvalues of the rod's extent tensor, descending: of (P^½w, P^-½m), or of (w, m) for gradient descent and in raw coordinates.",
        (_R,),
    ),
    Series("alignment", (), "", "|cosine| between the rod ζ and the discrete half-difference.", (_R,)),
    Series("valley_extent", ("axis",), "weights", "The rod ζ in the valley's coordinates: its ends are valley ± this.", (_R,)),
)
