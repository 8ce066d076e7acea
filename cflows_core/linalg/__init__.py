"""Linear algebra that the flows stand on: operators and their largest eigenpairs, svec, the SDCP, low rank."""
