"""The toy lab: what a visitor chose, what is computed of it, and how it is drawn."""
