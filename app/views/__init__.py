"""The panels of the dashboard, one view a file; `VIEWS` in the order in which they stand on the page."""

from __future__ import annotations

from cflows_app.views.covariance import CovarianceView
from cflows_app.views.distance import DistanceView
from cflows_app.views.eigenvalues import EigenvalueView
from cflows_app.views.gradients import GradientView
from cflows_app.views.loss import LossView
from cflows_app.views.valley import ValleyView

VIEWS = (LossView, EigenvalueView, CovarianceView, DistanceView, ValleyView, GradientView)

__all__ = ["VIEWS", "CovarianceView", "DistanceView", "EigenvalueView", "GradientView", "LossView", "ValleyView"]
