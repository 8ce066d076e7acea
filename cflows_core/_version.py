"""The version, in one place: the build reads this file without importing the package (SemVer)."""

from __future__ import annotations

__version__ = "0.1.0"
