"""Triangles to pixels, twice: `kernels` (Warp, fast, CPU and CUDA) and `reference` (plain torch, slow, true).

Both see the crop frame from `dhpe_lib.renderer`, which is what the rest of the library calls.
"""
