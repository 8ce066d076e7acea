"""`python -m cflows_core` is the command `cflows`."""

from __future__ import annotations

import sys

from cflows_core.cli import main

# The guard matters: local workers are spawned, and a spawned process imports the main module again.
if __name__ == "__main__":
    sys.exit(main())
