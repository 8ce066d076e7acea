"""Every series that `observe` adds, recomputed from the states by hand; and the registry against what the flows give."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from cflows_core import SERIES, Frame, Objective, RunConfig, Simulation
from cflows_core.config import FLOW_NAMES, OBSERVABLES
from cflows_core.flows.stationary_dual import minimal_trace_preconditioner, stationary_preconditioner
from cflows_core.measure import period
from cflows_core.observe import Watch, observe
from cflows_core.rules import ABLATIONS
from tests.oracles import NINE, Array, gradient, hessian

N_TRAIN, WIDTH = 40, 4
TINY = RunConfig(n_train=N_TRAIN, width=WIDTH, depth=1, n_eigs=4)
# RMSProp with one mode at the edge from its first steps beside the flows.
EDGE = TINY.replace(
    optimizer="rmsprop", lr=0.03, warm_start=12, steps=4, flows=["stable", "central", "central_no_curvature"], observe=list(OBSERVABLES)
)


class Seen(NamedTuple):
    """What a step left behind."""

    frame: Frame
    states: dict[str, Any]
    watch: Watch


def watched(simulation: Simulation) -> list[Seen]:
    return [Seen(frame, dict(simulation.states), simulation.watch) for frame in simulation]


@pytest.fixture(scope="module")
def edge() -> tuple[Simulation, list[Seen]]:
    simulation = Simulation(EDGE)
    steps = watched(simulation)
    assert set(steps[-1].frame.status.values()) == {"running"}
    assert steps[-1].frame.flows["central"]["rank"] == 1
    return simulation, steps


def network(w: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
    """The digits network with one hidden layer, from its flat weights."""
    first, bias, head, shift = w.split([64 * WIDTH, WIDTH, 10 * WIDTH, 10])
    return torch.tanh(inputs @ first.view(WIDTH, 64).T + bias) @ head.view(10, WIDTH).T + shift


def digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images / 16 - 0.3), torch.tensor(labels)


def dense_hessian(simulation: Simulation, w: torch.Tensor) -> Array:
    H = simulation.objective.hvp(w, torch.eye(len(w), dtype=w.dtype)).numpy()
    return (H + H.T) / 2


# What is watched


def test_coordinates_have_a_gradient_and_stay(edge) -> None:
    simulation, steps = edge
    start = simulation.objective.grad(simulation.problem.weights)
    chosen = steps[0].watch.coordinates
    assert chosen is not None
    assert len(set(chosen.tolist())) == 10
    assert bool((start[chosen] != 0).all())
    alive = start.nonzero()[:, 0]
    assert chosen[0] == alive[0]
    assert chosen[-1] == alive[-1]
    assert int(chosen.diff().max()) < 0.2 * len(start)
    for seen in steps:
        assert torch.equal(seen.watch.coordinates, chosen)


def test_coordinates_of_the_optimizer_by_hand(edge) -> None:
    """g_t², ν_{t+1} = β₂ν_t + (1 − β₂)g_t² from ν₀ = g₀², and 1/P = η/(√ν_{t+1} + ε), over the iterates alone."""
    simulation, steps = edge
    chosen = steps[0].watch.coordinates
    nu = None
    for seen in steps:
        square = simulation.objective.grad(seen.states["discrete"].point.w)[chosen].numpy() ** 2
        nu = square if nu is None else 0.99 * nu + 0.01 * square
        series = seen.frame.flows["discrete"]
        np.testing.assert_allclose(series["grad_sq_coordinates"], square, rtol=1e-10, atol=1e-30)
        np.testing.assert_allclose(series["nu_coordinates"], nu, rtol=1e-10, atol=1e-30)
        np.testing.assert_allclose(series["step_size_coordinates"], 0.03 / (np.sqrt(nu) + 1e-8), rtol=1e-10)


def test_coordinates_of_flows(edge) -> None:
    """ν and 1/P of a flow are those of its state; a flow without oscillations predicts its own squared gradient."""
    simulation, steps = edge
    chosen = steps[0].watch.coordinates
    for seen in steps[12:]:
        for name in ("stable", "central"):
            point, series = seen.states[name].point, seen.frame.flows[name]
            nu = point.nu[chosen].numpy()
            np.testing.assert_array_equal(series["nu_coordinates"], nu)
            np.testing.assert_allclose(series["step_size_coordinates"], 0.03 / (np.sqrt(nu) + 1e-8), rtol=1e-12)
        square = simulation.objective.grad(seen.states["stable"].point.w)[chosen].numpy() ** 2
        np.testing.assert_allclose(seen.frame.flows["stable"]["grad_sq_coordinates"], square, rtol=1e-9, atol=1e-30)


def test_average_of_the_iterates(edge) -> None:
    """a_t = 0.9 a_{t−1} + 0.1 w_t, a_0 = w_0; its loss, and its distance to (w_t + w_{t+1})/2."""
    _, steps = edge
    images, labels = digits()
    onehot = torch.eye(10, dtype=torch.float64)[labels[:N_TRAIN]]
    iterates = [seen.states["discrete"].point.w for seen in steps] + [steps[-1].states["discrete"].after.w]
    average = iterates[0]
    for t, seen in enumerate(steps):
        average = 0.9 * average + 0.1 * iterates[t]
        loss = 0.5 * ((network(average, images[:N_TRAIN]) - onehot) ** 2).sum(1).mean()
        series = seen.frame.flows["discrete"]
        assert series["loss_average"] == pytest.approx(float(loss), rel=1e-10)
        expected = float((average - (iterates[t] + iterates[t + 1]) / 2).norm())
        assert series["average_distance"] == pytest.approx(expected, rel=1e-10)


def test_outputs_and_scores_on_examples_never_trained_on(edge) -> None:
    """The network written out, on scikit-learn's digits after the first forty."""
    _, steps = edge
    images, labels = (part[N_TRAIN:] for part in digits())
    onehot = torch.eye(10, dtype=torch.float64)[labels]
    for seen in steps:
        for name, state in seen.states.items():
            np.testing.assert_allclose(seen.frame.flows[name]["outputs"], network(state.point.w, images[:1])[0], rtol=1e-10)
        outputs = network(seen.states["discrete"].point.w, images)
        series = seen.frame.flows["discrete"]
        assert series["test_loss"] == pytest.approx(float(0.5 * ((outputs - onehot) ** 2).sum(1).mean()), rel=1e-10)
        assert series["test_accuracy"] == float((outputs.argmax(1) == labels).double().mean())


def test_predicted_outputs_by_exact_second_derivatives(edge) -> None:
    """f + ½⟨∇²f, Σ⟩ of the central flow, Σ's eigenvectors differentiated along twice (math.md 4: any f)."""
    _, steps = edge
    image = digits()[0][N_TRAIN : N_TRAIN + 1]
    for seen in steps[13:]:
        state, series = seen.states["central"], seen.frame.flows["central"]
        w, expected = state.point.w, network(state.point.w, image)[0]
        for mode, variance in zip(state.modes.T, state.variances, strict=True):

            def along(s: torch.Tensor, w: torch.Tensor = w, v: torch.Tensor = mode) -> torch.Tensor:
                return network(w + s * v, image)[0]

            expected = expected + 0.5 * variance * torch.func.jacrev(torch.func.jacrev(along))(torch.zeros(()).double())
        moved = np.abs(series["predicted_outputs"] - series["outputs"]).max()
        if seen is steps[-1]:
            assert moved > 0
        # Second differences over one standard deviation leave its fourth power.
        np.testing.assert_allclose(series["predicted_outputs"], expected, rtol=0, atol=1e-9 + 0.02 * moved)


def test_valley_is_the_plane_of_the_top_eigenvector_and_the_slow_motion(edge) -> None:
    simulation, steps = edge
    basis = None
    for seen in steps:
        discrete = seen.states["discrete"]
        if seen.frame.step < 12:
            assert "valley" not in seen.frame.flows["discrete"]
            continue
        valley = seen.watch.valley
        assert valley is not None
        assert seen.frame.flows["discrete"]["valley_basis"] == valley.step
        if valley.step == seen.frame.step:  # fixed now
            basis = valley.axes
            np.testing.assert_array_equal(valley.origin, (discrete.point.w + discrete.after.w) / 2)
            middle = (2 * discrete.point.w + discrete.after.w + discrete.before.w) / 4
            root = (0.03 / (discrete.after.nu.sqrt() + 1e-8)).sqrt().numpy()
            root[discrete.after.nu == 0] = 0
            _, vectors = np.linalg.eigh(root[:, None] * dense_hessian(simulation, middle) * root)
            across = root * vectors[:, -1]
            # An angle of the eigenpairs' residual, 5e-3, over a gap of 0.3 at least.
            assert abs(across @ valley.axes[:, 0].numpy()) / np.linalg.norm(across) > 1 - 0.5 * (5e-3 / 0.3) ** 2
        np.testing.assert_array_equal(valley.axes, basis)
        np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-12)
        for name, state in seen.states.items():
            np.testing.assert_allclose(seen.frame.flows[name]["valley"], basis.T @ (state.point.w - valley.origin), atol=1e-14)
        middle = (discrete.point.w + discrete.after.w) / 2
        np.testing.assert_allclose(seen.frame.flows["discrete"]["valley_centre"], basis.T @ (middle - valley.origin), atol=1e-14)
        central = seen.states["central"]
        sigma = basis.T @ (central.modes * central.variances) @ central.modes.T @ basis
        covariance = [sigma[0, 0], sigma[0, 1], sigma[1, 1]]
        np.testing.assert_allclose(seen.frame.flows["central"]["valley_covariance"], covariance, rtol=1e-9, atol=1e-18)


def test_stationary_preconditioners_found_anew_with_a_dense_hessian(edge) -> None:
    """ν̄ = (ηP̄)², |∇L|² in the metrics of P̄⁻¹ and P̂⁻¹ and (S/2)⁻¹, from a cold start and to a tighter tolerance ([CF] Fig. 20, 21).

    The preconditioners are those of the flows' first step, found again at step 20; ν and the gradient those of the step itself.
    """
    simulation, steps = edge
    at = steps[12].states["central"].point.w
    for seen in (steps[12], steps[16]):
        point, series = seen.states["central"].point, seen.frame.flows["central"]
        matrix = dense_hessian(simulation, at)
        H, g = torch.tensor(matrix), simulation.objective.grad(at)

        def product(V: torch.Tensor, H: torch.Tensor = H) -> torch.Tensor:
            return H @ V

        P = stationary_preconditioner(product, g, 0.03, tol=1e-7).P
        P_hat = minimal_trace_preconditioner(product, g, tol=1e-7).P
        nu_bar, g = (0.03 * P) ** 2, simulation.objective.grad(point.w)
        moved = g != 0
        cosine = float(point.nu @ nu_bar / (point.nu.norm() * nu_bar.norm()))
        assert series["nu_stationary_cosine"] == pytest.approx(cosine, rel=1e-4)
        assert cosine < 1 - 1e-3
        np.testing.assert_allclose(
            series["nu_stationary_coordinates"], nu_bar[seen.watch.coordinates], rtol=2e-2, atol=1e-4 * float(nu_bar.max())
        )
        assert series["speed_stationary"] == pytest.approx(float((g[moved] ** 2 / P[moved]).sum()), rel=2e-3)
        assert series["speed_minimal_trace"] == pytest.approx(float((g[moved] ** 2 / P_hat[moved]).sum()), rel=2e-2)
        assert series["speed_vanilla"] == pytest.approx(float(g @ g) / (np.linalg.eigvalsh(matrix)[-1] / 2), rel=1e-5)


# Predicted squared gradients, on a network small enough for dense matrices of everything


INPUTS = torch.randn(12, 2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
TARGETS = torch.sin(2 * INPUTS[:, 0]) - INPUTS[:, 1]


def regression(w: torch.Tensor) -> torch.Tensor:
    hidden = torch.tanh(INPUTS @ w[:6].reshape(2, 3) + w[6:9])
    return 0.5 * ((hidden @ w[9:12] + w[12] - TARGETS) ** 2).mean()


def test_predicted_squared_gradients_with_dense_matrices() -> None:
    """∇L² + diag(HΣH) at the ten weights ([CF] eq. 33), H dense; its sum over all weights is `predicted_grad_norm_sq` (eq. 26)."""
    flows = ["central", "central_no_curvature", "stationary", "stationary_limit"]
    config = RunConfig(
        optimizer="rmsprop", lr=0.1, beta2=0.7, warm_start=16, steps=5, n_eigs=4, flows=flows, observe=["coordinates"]
    )  # fmt: skip
    weights = torch.randn(13, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    steps = watched(Simulation(config, Objective.from_function(regression, 13), weights))
    oscillated = set()
    for seen in steps[17:]:
        for name in flows:
            state, series = seen.states[name], seen.frame.flows[name]
            w = state.point.w.numpy()
            sigma = ((state.modes * state.variances) @ state.modes.T).numpy()
            H, g = hessian(regression, w), gradient(regression, w)
            added = np.diag(H @ sigma @ H)
            if added.sum() > 0.2 * (g @ g):
                oscillated.add(name)
            print(seen.frame.step, name, seen.frame.status[name], added.sum() / (g @ g), len(state.variances))
            # The central flow has HΣH from the predicted point, ahead of the projection.
            rtol = 0.05 if name.startswith("central") else 1e-3
            expected = (g * g + added)[seen.watch.coordinates]
            np.testing.assert_allclose(series["grad_sq_coordinates"], expected, rtol=rtol, atol=rtol * expected.max())
            assert series["predicted_grad_norm_sq"] == pytest.approx(float(g @ g + added.sum()), rel=rtol)
    assert oscillated == set(flows)


# Periods, and fewer than ten weights


def quartic(sharpness: float) -> Simulation:
    """Gradient descent with η = 1 on ½S₀x² − ¼x⁴, whose 2-cycle is stable for 2 < S₀ < 3 (math.md 7), and a weight that nothing moves."""
    config = RunConfig(lr=1.0, steps=90, n_eigs=1, flows=["discrete"], observe=["coordinates"])
    objective = Objective.from_function(lambda w: sharpness * w[0] ** 2 / 2 - w[0] ** 4 / 4 + 0.05 * w[1] ** 2 + 0 * w[2], 3)
    return Simulation(config, objective, torch.tensor([0.3, 1.0, 1.0], dtype=torch.float64))


def test_two_cycle_has_period_two() -> None:
    found = [frame.flows["discrete"]["period"] for frame in quartic(2.3)]
    assert found[-1] == 2


def test_period_of_the_recorded_displacement() -> None:
    """`period` is `measure.period` of the last forty displacements since the edge was reached, which are uᵀ(2w_t − w_{t+1} − w_{t−1})/4."""
    simulation = Simulation(TINY.replace(lr=0.5, steps=90, n_eigs=2, flows=["discrete"], observe=[]))
    swings: list[float] = []
    given = 0
    for seen in watched(simulation):
        state, series = seen.states["discrete"], seen.frame.flows["discrete"]
        if math.isnan(series["displacement"]):
            swings = []
        else:
            expected = state.reference @ (2 * state.point.w - state.after.w - state.before.w) / 4
            assert series["displacement"] == pytest.approx(float(expected), rel=1e-12)
            assert float(state.reference.norm()) == pytest.approx(1.0, rel=1e-12)
            swings.append(series["displacement"])
        if len(swings) < 40:
            assert math.isnan(series["period"])
        else:
            given += 1
            assert series["period"] == period(np.array(swings[-40:]), fading=False)
    assert given > 10


def test_fewer_than_ten_weights_are_filled_up_with_nan() -> None:
    simulation = quartic(2.3)
    series = next(simulation).flows["discrete"]["grad_sq_coordinates"]
    assert simulation.watch.coordinates.tolist() == [0, 1]  # nothing moves the third
    assert len(series) == 10
    assert np.isnan(series[2:]).all()
    np.testing.assert_allclose(series[:2], [(2.3 * 0.3 - 0.3**3) ** 2, 0.1**2], rtol=1e-10)


# What is asked for, and what is registered


ASKED = {
    "test": {"test_loss", "test_accuracy"},
    "valley": {"valley", "valley_centre", "valley_basis", "valley_extent", "valley_covariance"},
    "outputs": {"outputs", "predicted_outputs"},
    "average": {"loss_average", "average_distance"},
    "coordinates": {"grad_sq_coordinates", "nu_coordinates", "step_size_coordinates"},
    "stationary": {"nu_stationary_cosine", "speed_stationary", "speed_minimal_trace", "speed_vanilla"},
}


def test_nothing_is_recorded_that_was_not_asked_for() -> None:
    assert set(ASKED) == set(OBSERVABLES)
    simulation = Simulation(TINY.replace(optimizer="rmsprop", lr=0.01, warm_start=1, steps=2, observe=[]))
    plain = {name for frame in simulation for series in frame.flows.values() for name in series}

    def added(*kinds: str) -> set[str]:
        simulation.config = simulation.config.replace(observe=list(kinds))
        return {name for series in observe(simulation)[0].values() for name in series} - plain

    assert added() == set()
    for kind, series in ASKED.items():
        assert added(kind) == series
    assert added("coordinates", "stationary") == ASKED["coordinates"] | ASKED["stationary"] | {"nu_stationary_coordinates"}


@pytest.fixture(scope="module")
def given() -> dict[str, list[Frame]]:
    """A few steps of every optimizer with all flows that exist for it and all that can be observed of it."""
    runs = {}
    for name in NINE:
        flows = [*FLOW_NAMES, *(flow for flow, optimizers in ABLATIONS.items() if name in optimizers)]
        kinds = [kind for kind in OBSERVABLES if kind != "stationary" or name == "rmsprop"]
        config = TINY.replace(n_train=10, width=1, optimizer=name, lr=0.01, warm_start=1, steps=1, n_eigs=3, flows=flows, observe=kinds)
        simulation = Simulation(config)
        runs[name] = list(simulation)
        assert set(simulation.states) == set(flows)
    return runs


@pytest.mark.parametrize("name", NINE)
def test_every_series_is_registered_for_its_flow(name: str, given) -> None:
    sizes = {"mode": 3, "axis": 2, "pair": 3, "output": 10, "coordinate": 10}
    for frame in given[name]:
        for flow, series in frame.flows.items():
            for key, value in series.items():
                assert flow in SERIES[key].flows, (flow, key)
                assert np.shape(value) == tuple(sizes[dim] for dim in SERIES[key].dims), (flow, key)
                assert isinstance(value, float) or value.dtype == float, (flow, key)


def test_every_registered_series_is_given_by_some_run(given, edge) -> None:
    frames = [frame for run in given.values() for frame in run] + [seen.frame for seen in edge[1]]
    found = {(flow, key) for frame in frames for flow, series in frame.flows.items() for key in series}
    registered = {(flow, key) for key, series in SERIES.items() for flow in series.flows}
    assert found == registered
