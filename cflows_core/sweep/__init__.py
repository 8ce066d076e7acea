"""Many configurations from one file: each a stored run, computed by workers, gathered in one table."""

from cflows_core.sweep import overview
from cflows_core.sweep.grid import Axis, Case, Sweep
from cflows_core.sweep.running import run
from cflows_core.sweep.specification import from_plain, read
from cflows_core.sweep.table import Table

__all__ = ["Axis", "Case", "Sweep", "Table", "from_plain", "overview", "read", "run"]
