"""Tracking: no mode is lost, few products, state in and out."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from cflows_core.errors import CflowsError
from cflows_core.linalg.eigen import Eigenpairs, EigenState, track
from cflows_core.linalg.operator import SymmetricOperator, preconditioned_hessian
from cflows_core.linalg.tracking import LOOK, LOOSE, NEAR

C = 2.0  # the threshold


def operator(A: Tensor) -> SymmetricOperator:
    return SymmetricOperator(lambda V: A @ V, len(A), A.dtype)


def rotating(n: int, top: list[float], bulk: tuple[float, float], speed: float, seed: int) -> Iterator[Tensor]:
    """Matrices with the eigenvalues `top` above a random bulk, in a basis that turns by about `speed` radians a step."""
    generator = torch.Generator().manual_seed(seed)
    values = bulk[0] + (bulk[1] - bulk[0]) * torch.rand(n, generator=generator, dtype=torch.float64)
    values[: len(top)] = torch.tensor(top, dtype=torch.float64)
    Q = torch.linalg.qr(torch.randn(n, n, generator=generator, dtype=torch.float64))[0]
    K = torch.randn(n, n, generator=generator, dtype=torch.float64) * n**-0.5
    R = torch.linalg.matrix_exp(speed * (K - K.T))
    while True:
        A = (Q * values) @ Q.T
        yield 0.5 * (A + A.T)
        Q = R @ Q


def follow(
    matrices: list[Tensor], *, n_max: int = 5, tol: float = 1e-3, blind: int = 0, **init: int
) -> list[tuple[Eigenpairs, EigenState]]:
    """The answers and states along `matrices`; what the state knows of the last coordinate is erased `blind` times."""
    state, answers = EigenState.init(len(matrices[0]), dtype=matrices[0].dtype, **init), []
    for t, A in enumerate(matrices):
        pairs, state = track(operator(A), state, threshold=C, n_max=n_max, tol=tol)
        if t < blind:
            for known in (state.vectors, state.guards, state.residuals, state.search, state.motion):
                known[:, -1] = 0.0
        answers.append((pairs, state))
    return answers


def rising(
    path: Callable[[float], float], *, n: int = 120, steps: int = 300, bulk: tuple[float, float] = (-0.5, 1.2), seed: int = 0
) -> list[Tensor]:
    """A rotating matrix and, exactly decoupled from it, one coordinate whose eigenvalue moves along `path` on [0, 1].

    No product with a vector that lacks the coordinate ever shows it: Krylov spaces and residuals never find it. (The first, random
    block has a trace of it; `follow(blind=...)` erases that.)
    """
    matrices = rotating(n - 1, [2.0, 1.9, 1.3], bulk, 0.01, seed)
    result = []
    for t in range(steps):
        A = torch.zeros(n, n, dtype=torch.float64)
        A[:-1, :-1] = next(matrices)
        A[-1, -1] = path(t / steps)
        result.append(A)
    return result


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bulk", [(-0.5, 1.2), (-0.05, 0.1), (-3.0, 1.2)], ids=["wide", "narrow", "negative"])
def test_a_decoupled_mode_that_rises_from_the_depth_is_never_lost(bulk: tuple[float, float], seed: int) -> None:
    """From −0.5 through the bulk to 2.5, 0.01 a step, compared with the dense spectrum at every step.

    Every eigenvalue above 0.8 c (0.75 c plus the few steps that it may take to be found) is there, so the mode is known 40 steps before
    it reaches the threshold. Near the threshold to residual²/gap = (2e-3)²/0.01, below as well as it can change between two looks.
    """
    matrices = rising(lambda x: -0.5 + 3 * x, bulk=bulk, seed=seed)
    for A, (pairs, _) in zip(matrices, follow(matrices, seed=seed, blind=100), strict=True):
        reference = torch.linalg.eigvalsh(A).flip(0)
        above = int((reference > 0.8 * C).sum())
        near = int((pairs.values > NEAR * C).sum())
        assert len(pairs.values) >= above
        torch.testing.assert_close(pairs.values[:near], reference[:near], rtol=0, atol=5e-4)
        torch.testing.assert_close(pairs.values[:above], reference[:above], rtol=0, atol=0.01 * LOOK)
        assert pairs.converged


@pytest.mark.parametrize("seed", range(5))
def test_even_a_jump_is_found_within_a_few_wide_solves(seed: int) -> None:
    """From −0.5 to 2.5 between two solves, in a decoupled coordinate; one solve in eight looks there."""
    matrices = rising(lambda x: -0.5 if x < 0.5 else 2.5, steps=60, seed=seed)
    answers = follow(matrices, seed=seed, blind=29)
    found = [t for t, (pairs, _) in enumerate(answers) if float(pairs.values[0]) > 2.499]
    assert found[0] <= 30 + 6 * LOOK
    assert found == list(range(found[0], 60))


@pytest.mark.parametrize("seed", range(3))
def test_no_crossing_is_missed_between_solves(seed: int) -> None:
    """The same rise, solved for only when the schedule says so: fewer than half of the steps, and every step from 0.9 c on."""
    matrices = rising(lambda x: -0.5 + 3 * x, bulk=(-0.5, 1.2), seed=seed)
    for A in matrices:  # leave the rising mode alone on its way up
        A[:-1, :-1] *= 0.4
    state, solves = EigenState.init(len(matrices[0])), 0
    for t, A in enumerate(matrices):
        top = float(torch.linalg.eigvalsh(A)[-1])
        if state.wait > 0:
            state = state.waited()
            assert top < 0.95 * C
            rise = 0.01 * 20  # of the mode, in the longest wait
            assert float(state.expected()[0]) == pytest.approx(top, abs=rise) or t < 120  # before the mode is found
            continue
        pairs, state = track(operator(A), state, threshold=C, n_max=3)
        solves += 1
        if top > 0.9 * C:
            assert float(pairs.values[0]) == pytest.approx(top, abs=1e-3)
    above = sum(float(torch.linalg.eigvalsh(A)[-1]) > 0.9 * C for A in matrices)
    assert solves < above + (len(matrices) - above) / 2


def test_two_modes_rise_and_cross() -> None:
    """One couples to the rest, one does not; they cross each other and both cross the threshold."""
    n, steps = 100, 250
    Q = torch.linalg.qr(torch.randn(n - 1, n - 1, generator=torch.Generator().manual_seed(3), dtype=torch.float64))[0]
    base = torch.cat([torch.tensor([1.8, 0.0]), torch.linspace(-0.5, 1.0, n - 3)]).double()
    matrices = []
    for t in range(steps):
        values = base.clone()
        values[1] = 0.5 + 2 * t / steps
        A = torch.zeros(n, n, dtype=torch.float64)
        A[:-1, :-1] = (Q * values) @ Q.T
        A[-1, -1] = 0.2 + 2.6 * t / steps
        matrices.append(A)
    for A, (pairs, _) in zip(matrices, follow(matrices), strict=True):
        reference = torch.linalg.eigvalsh(A).flip(0)
        above = int((reference > 0.8 * C).sum())
        torch.testing.assert_close(pairs.values[:above], reference[:above], rtol=0, atol=5e-4)


def test_clustered_modes_turn_into_each_other() -> None:
    """Three eigenvalues within 1e-4 at the edge: values and the space are right though single vectors are arbitrary."""
    stream = rotating(150, [2.0, 2.00005, 1.9999, 1.2], (-0.5, 1.0), 0.005, 1)
    matrices = [next(stream) for _ in range(40)]
    for A, (pairs, _) in list(zip(matrices, follow(matrices), strict=True))[1:]:
        values, vectors = torch.linalg.eigh(A)
        torch.testing.assert_close(pairs.values[:3], values.flip(0)[:3], rtol=0, atol=1e-5)
        cosines = torch.linalg.svdvals(vectors.flip(1)[:, :3].T @ pairs.vectors[:, :3])
        assert cosines.min() > 1 - 1e-5  # angle about residual/gap = 2e-3/0.8


def test_a_solve_costs_as_many_products_as_modes_when_little_changes() -> None:
    """Seven of eight solves are one product a mode; the eighth has wanted, guards, the last one's residual and change, one random."""
    stream = rotating(300, [2.1, 2.0, 1.9, 1.3], (-0.5, 1.0), 0.001, 2)
    matrices = [next(stream) for _ in range(60)]
    answers = follow(matrices, n_max=3, tol=1e-2)[2:]
    assert all(len(pairs.values) == 3 for pairs, _ in answers)
    assert all(pairs.converged for pairs, _ in answers)
    assert all(pairs.n_calls == 1 for pairs, _ in answers)
    products = sorted(pairs.n_products for pairs, _ in answers)
    narrow = len(products) * (LOOK - 1) // LOOK - 1
    assert products[:narrow] == [3] * narrow
    assert products[-1] <= 3 + 2 + 2 + 1 + 1


def test_modes_away_from_the_threshold_wait_for_the_next_look() -> None:
    """Two of five modes near it: two products in most solves; the others' values on a line, all vectors orthonormal."""
    stream = rotating(200, [2.1, 2.0, 1.65, 1.55, 1.2], (-0.5, 1.0), 0.002, 3)
    matrices = [next(stream) for _ in range(60)]
    for t, A in enumerate(matrices):  # falling slowly
        A -= 0.001 * t * torch.eye(200, dtype=torch.float64)
    answers = follow(matrices, n_max=6, tol=1e-2)
    products = [pairs.n_products for pairs, _ in answers[2:]]
    assert products.count(2) >= 0.6 * len(products)
    for A, (pairs, _) in list(zip(matrices, answers, strict=True))[LOOK + 1 :]:
        k = len(pairs.values)
        assert k == 5
        torch.testing.assert_close(pairs.values, torch.linalg.eigvalsh(A).flip(0)[:k], rtol=0, atol=2e-3)
        torch.testing.assert_close(pairs.vectors.T @ pairs.vectors, torch.eye(k).double(), rtol=0, atol=1e-12)
        assert pairs.residuals[:2].max() < 1e-2


def test_columns_keep_their_sign() -> None:
    stream = rotating(100, [2.1, 2.0, 1.7], (-0.5, 1.0), 0.02, 4)
    matrices = [next(stream) for _ in range(80)]
    answers = follow(matrices, n_max=3)
    for (before, _), (after, _) in pairwise(answers[1:]):
        overlap = before.vectors.T @ after.vectors
        closest = overlap.abs().argmax(0)
        assert (overlap[closest, torch.arange(overlap.shape[1])] > 0).all()


def test_the_number_tracked_follows_the_spectrum() -> None:
    """2 at rest, one more than stands above 0.75 c while it is below n_max, and back when the modes fall."""

    def A(*top: float) -> Tensor:
        return torch.diag(torch.cat([torch.tensor(top, dtype=torch.float64), torch.linspace(-1, 0.5, 60, dtype=torch.float64)]))

    state = EigenState.init(64)
    counts, saturated = [], []
    for matrix in (A(1, 0.9, 0.8, 0.7), A(1.8, 1.7, 1.6, 0.7), A(1.8, 1.7, 1.6, 1.55), A(1.8, 0.9, 0.8, 0.7), A(1, 0.9, 0.8, 0.7)):
        for _ in range(LOOK):
            pairs, state = track(operator(matrix), state, threshold=C, n_max=4)
            assert pairs.converged
        counts.append(len(pairs.values))
        saturated.append(pairs.saturated)
    assert counts == [2, 4, 4, 2, 2]
    assert saturated == [False, False, True, False, False]
    assert state.floor == 2


def test_n_max_is_a_limit_also_below_the_floor() -> None:
    state = EigenState.init(50, wanted=3)
    matrix = torch.diag(torch.linspace(-1, 2, 50, dtype=torch.float64))
    pairs, state = track(operator(matrix), state, threshold=C, n_max=1)
    assert len(pairs.values) == 1
    pairs, state = track(operator(matrix), state, threshold=C, n_max=1)
    torch.testing.assert_close(pairs.values, torch.tensor([2.0]).double(), rtol=0, atol=1e-5)
    assert pairs.saturated


@pytest.mark.parametrize("n", [1, 2, 3, 5, 30, 33, 34, 36])
def test_few_coordinates(n: int) -> None:
    stream = rotating(n, [2.0, 1.9][:n], (-1.0, 1.0), 0.05, n) if n > 1 else iter([torch.tensor([[2.0]]).double()] * 10)
    matrices = [next(stream) for _ in range(10)]
    for A, (pairs, _) in zip(matrices, follow(matrices), strict=True):
        k = len(pairs.values)
        assert k == min(n, 3 if n > 2 else 2)
        reference = torch.linalg.eigvalsh(A).flip(0)[:k]
        torch.testing.assert_close(pairs.values[:2], reference[:2], rtol=0, atol=2e-5)  # residual²/gap
        torch.testing.assert_close(pairs.values, reference, rtol=0, atol=2e-5 * LOOSE**2)


def test_float32() -> None:
    stream = rotating(200, [2.1, 2.0, 1.4], (-0.5, 1.0), 0.005, 5)
    matrices = [next(stream).float() for _ in range(40)]
    for A, (pairs, _) in zip(matrices, follow(matrices), strict=True):
        assert pairs.values.dtype == torch.float32
        torch.testing.assert_close(pairs.values[:2], torch.linalg.eigvalsh(A).flip(0)[:2], rtol=0, atol=1e-4)


def test_vectors_are_generalised_eigenvectors_while_the_preconditioner_drifts() -> None:
    n = 120
    H = next(rotating(n, [4.0, 3.8, 3.0], (-0.5, 1.0), 0.0, 6))

    class Objective:
        n_params, dtype, device = n, torch.float64, torch.device("cpu")

        def hvp(self, w: Tensor, V: Tensor) -> Tensor:
            return H @ V

    state, w = EigenState.init(n), torch.zeros(n, dtype=torch.float64)
    for t in range(20):
        P = 1 + 0.5 * torch.sin(torch.arange(n) + 0.05 * t).double()
        pairs, state = track(preconditioned_hessian(Objective(), w, P), state, threshold=C, n_max=4)
        U, k = pairs.vectors, len(pairs.values)
        torch.testing.assert_close(U.T @ (P[:, None] * U), torch.eye(k).double(), rtol=0, atol=1e-12)
        root = P.rsqrt()
        reference, near = torch.linalg.eigvalsh(root[:, None] * H * root).flip(0)[:k], int((pairs.values > NEAR * C).sum())
        torch.testing.assert_close(pairs.values[:near], reference[:near], rtol=0, atol=1e-4)
        torch.testing.assert_close(pairs.values, reference, rtol=0, atol=4e-2)  # the others on a line


def test_a_stored_state_continues_bit_for_bit() -> None:
    """Through torch.save and a load that can only read tensors and plain values."""
    stream = rotating(100, [2.0, 1.9, 1.2], (-0.5, 1.0), 0.01, 7)
    matrices = [next(stream) for _ in range(12)]
    _, state = follow(matrices[:6])[-1]
    file = io.BytesIO()
    torch.save({field.name: getattr(state, field.name) for field in dataclasses.fields(state)}, file)
    file.seek(0)
    restored = EigenState(**torch.load(file, weights_only=True))
    for A in matrices[6:]:
        one, state = track(operator(A), state, threshold=C, n_max=4)
        two, restored = track(operator(A), restored, threshold=C, n_max=4)
        assert torch.equal(one.values, two.values)
        assert torch.equal(one.vectors, two.vectors)


@pytest.mark.parametrize("first", [0, 3])
def test_a_product_that_is_not_finite_loses_nothing(first: int) -> None:
    stream = rotating(100, [2.0, 1.9, 1.2], (-0.5, 1.0), 0.01, 8)
    state = EigenState.init(100)
    for t, A in enumerate(next(stream) for _ in range(8)):
        broken = t == first
        op = SymmetricOperator(lambda V: torch.full_like(V, torch.nan), 100) if broken else operator(A)
        pairs, state = track(op, state, threshold=C, n_max=4)
        assert pairs.converged is not broken
        if broken:
            assert torch.isnan(pairs.values).all()
            assert pairs.vectors.shape == (100, len(pairs.values))
        else:
            torch.testing.assert_close(pairs.values, torch.linalg.eigvalsh(A).flip(0)[: len(pairs.values)], rtol=0, atol=5e-4)


def test_too_few_calls_are_told_and_the_next_solve_goes_on() -> None:
    A = next(rotating(300, [2.0, 1.99, 1.98], (-0.5, 1.9), 0.0, 9))
    state, residuals = EigenState.init(300), []
    for _ in range(12):
        pairs, state = track(operator(A), state, threshold=C, n_max=3, max_calls=2)
        residuals.append(float(pairs.residuals.max()))
    assert not track(operator(A), EigenState.init(300), threshold=C, n_max=3, max_calls=2)[0].converged
    assert residuals[-1] < 0.1 * residuals[0]


def test_arguments_are_checked() -> None:
    with pytest.raises(CflowsError, match="at least 1, got 0, 2 and 2"):
        EigenState.init(0)
    with pytest.raises(CflowsError, match="got 5, 0 and 2"):
        EigenState.init(5, wanted=0)
