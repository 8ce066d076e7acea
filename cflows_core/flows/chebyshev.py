"""Stabilised Runge–Kutta–Chebyshev steps of second order, whose cost grows with the root of the stiffness.

[VHS] Verwer, Hundsdorfer, Sommeijer, *Convergence properties of the Runge-Kutta-Chebyshev method* (1990); [SSV] Sommeijer, Shampine,
Verwer, *RKC: an explicit solver for parabolic PDEs* (1998).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

# ε. [SSV] have 2/13, which leaves 95 % of a fast mode where the stability polynomial peaks. Ours leaves at most 38 % from three stages on:
# in a unit of time, two substeps, a mode that starts off its valley's floor is missed by 6 to 11 % of its start at most, where ε = 4 misses
# 8 to 23 %, for one more stage from five times the edge on. A larger one gains little: three stages leave a third in any case.
DAMPING = 12.0


class Stage(NamedTuple):
    """Y_j − Y_0 = before·(Y_{j−1} − Y_0) + older·(Y_{j−2} − Y_0) + dt·(rate·F_{j−1} + first·F_0), at the time t + time·dt."""

    before: float
    older: float
    rate: float
    first: float
    time: float


def stages_for(radius: float) -> int:
    """The fewest stages s ≥ 2 stable for eigenvalues of dt·∂F/∂Y in [−radius, 0]: radius ≤ (ω₀ + 1)/ω₁ ([SSV] section 2).

    Every s is stable in the disc |1 + z| ≤ 1 as well: two stages because 1 + z + z²/2 = ½ + ½(1 + z)², more as the tests find.
    """
    count = 2
    while stable_radius(count) < radius:
        count += 1
    return count


@cache
def stable_radius(count: int) -> float:
    """(ω₀ + 1)/ω₁: how far down the negative axis a step of `count` stages damps, until ω₀ + ω₁z leaves [−1, 1]."""
    w0 = 1 + DAMPING / count**2
    _, D, E = _polynomials(count, w0)
    return (w0 + 1) * E[-1] / D[-1]


def _polynomials(count: int, x: float) -> tuple[list[float], list[float], list[float]]:
    """Chebyshev's T_0 … T_s at x, and their first and second derivatives."""
    T, D, E = [1.0, x], [0.0, 1.0], [0.0, 0.0]
    for _ in range(2, count + 1):
        E.append(2 * x * E[-1] - E[-2] + 4 * D[-1])
        D.append(2 * x * D[-1] - D[-2] + 2 * T[-1])
        T.append(2 * x * T[-1] - T[-2])
    return T, D, E


@cache
def chebyshev_stages(count: int) -> tuple[Stage, ...]:
    """The coefficients of Y_1 … Y_s, s = count ≥ 2 ([VHS]; [SSV] section 2).

    With T_j, T'_j, T''_j at ω₀ = 1 + ε/s², ω₁ = T'_s/T''_s and b_j = T''_j/T'_j², b_0 = b_1 = b_2, the stability polynomial of Y_j is
    1 − b_j T_j + b_j T_j(ω₀ + ω₁ z), and its time ω₁ T''_j/T'_j.
    """
    w0 = 1 + DAMPING / count**2
    T, D, E = _polynomials(count, w0)
    w1 = D[-1] / E[-1]
    b = [E[2] / D[2] ** 2] * 2 + [second / first**2 for first, second in zip(D[2:], E[2:], strict=True)]
    stages = [Stage(0.0, 0.0, b[1] * w1, 0.0, b[1] * w1)]
    for j in range(2, count + 1):
        rate = 2 * w1 * b[j] / b[j - 1]
        first = -(1 - b[j - 1] * T[j - 1]) * rate
        time = E[j] / D[j] / (E[-1] / D[-1])  # so written, the last is 1 to the bit
        stages.append(Stage(2 * w0 * b[j] / b[j - 1], -b[j] / b[j - 2], rate, first, time))
    return tuple(stages)
