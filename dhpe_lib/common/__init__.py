"""Tools that all other folders use: records of rows, atomic file writes, safe unpickling, devices, workers, console."""
