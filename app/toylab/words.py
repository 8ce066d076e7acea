"""The toy lab in words: one sentence on what to look at now."""

from __future__ import annotations

from cflows_app.toylab.results import Scene, in_figures

MEASURING = "The closed forms are being measured."
NO_FORMS = "No closed form is known for this loss with this optimizer: the panels above are all there is."
SHORT = 0.9  # of the edge, up to which an adaptive optimizer is still on its way
NEAR = 0.02  # of the edge, that counts as being at it


def sentence(scene: Scene | None) -> str:
    """What to look at now."""
    if scene is None:
        return "The first walk is being computed."
    setting, walk = scene.setting, scene.walk
    if walk.stopped:
        return f"It diverges. {walk.stopped}" if "diverge" in walk.stopped else walk.stopped
    if setting.loss == "linear":
        return "A straight slope has no curvature, so no edge: every step is as long as the last, and the rod half a step to either side."
    if setting.loss == "valley":
        return _valley(scene)
    if scene.period is None:
        return "The optimizer walks; its flows and its period are being computed."
    relative = walk.eigenvalue_centre / walk.threshold
    edge, late = setting.edge, float(relative[-1])
    if setting.method.adaptive and scene.period != 1 and relative[len(relative) // 4 :].max() < SHORT:
        return f"Not at the edge yet: λ/c is {late:.2f} at the last step and rises while ν forgets the start: draw more steps."
    if edge is not None and abs(edge - 1) < NEAR and scene.period != 1:
        return "At the edge: η S/c = 1, an eigenvalue of the step sits at −1 on the unit circle, and a swing neither grows nor shrinks."
    if setting.method.adaptive and scene.cycle is not None and not scene.cycle.stable and scene.period != 2:
        return (
            f"The 2-cycle of half-length {abs(scene.cycle.half_difference[0]):.3g} is unstable, two steps multiply a distance to it by "
            f"{scene.cycle.multiplier:.3g}: the iterates leave it, and a slow wave of their amplitude takes its place."
        )
    return {
        1: "It converges: the swing dies out, and the eigenvalues of a step lie within the unit circle.",
        2: _two(scene),
        4: "Period 4: the 2-cycle has split. The rod has two ends, and cannot follow four points.",
        0: "Chaos, or a period other than 1, 2 and 4: the iterates stay bounded and never settle. No rod describes them.",
        -1: "It diverges in the long run: the swing grows without end.",
    }[scene.period]


def notes(scene: Scene) -> list[str]:
    """What else a reader should know: of each flow the last that was said."""
    last = {" ".join(note.split()[:3]): note for note in scene.walk.notes}
    return list(last.values())


def _two(scene: Scene) -> str:
    found = scene.cycle
    if found is None:
        return "Period 2: the iterates jump between two points, which are the rod's two ends."
    first, second = sorted(float(value) for value in found.w[:, 0])
    uneven = scene.one and abs(first + second) > 0.02 * (second - first) and scene.setting.loss in ("quadratic", "quartic")
    kind = "an uneven 2-cycle, one side farther out than the other" if uneven else "a 2-cycle"
    adapted = " ν has grown until the edge is where the curvature is." if scene.setting.method.adaptive else ""
    ends = f"between {in_figures(first, 3)} and {in_figures(second, 3)}"
    return f"The iterates settle on {kind}, {ends}: the two ends of a rod that does not shrink.{adapted}"


def _valley(scene: Scene) -> str:
    walk = scene.walk
    relative = walk.eigenvalue_centre / walk.threshold
    late = relative[-max(1, len(relative) // 4) :]
    u = walk.w[-1, 1]
    if float(late.max()) < 1 - NEAR and abs(u - scene.setting.target) > 0.1:
        return f"The valley grows steeper on the way: λ/c is {float(late[-1]):.2f} now, and rises towards the edge at 1."
    if float(late.max()) < 1 - NEAR:
        return "The minimum lies before the edge: the optimizer gets there, as the stable flow says."
    return "At the edge: the swing holds the optimizer where the walls are as steep as it can bear; the stable flow walks on."
