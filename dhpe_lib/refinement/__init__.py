"""Move h downhill: the energy, test-time refinement (Eq. 13), the fit without a network."""
