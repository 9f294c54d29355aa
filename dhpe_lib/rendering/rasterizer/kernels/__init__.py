"""The rasterizer's kernels in Warp, one module for each formula; no torch here."""
