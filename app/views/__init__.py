"""The panels of the dashboard, one view a file; `VIEWS` in the order in which they stand on *Explore*.

`OVER_STEPS`: those of them that several runs can be laid over one another in.
"""

from __future__ import annotations

from cflows_app.views.covariance import CovarianceView
from cflows_app.views.distance import DistanceView
from cflows_app.views.eigenvalues import EigenvalueView
from cflows_app.views.gradients import GradientView
from cflows_app.views.loss import LossView
from cflows_app.views.valley import ValleyView

VIEWS = (LossView, EigenvalueView, CovarianceView, DistanceView, ValleyView, GradientView)
OVER_STEPS = (LossView, EigenvalueView, CovarianceView, DistanceView, GradientView)

__all__ = ["OVER_STEPS", "VIEWS", "CovarianceView", "DistanceView", "EigenvalueView", "GradientView", "LossView", "ValleyView"]
