"""The rasterizer: Warp kernels, the torch functions above them, and `reference`, the same in plain torch.

Everything here works in pixels, `places [batch, vertices, 3]`: see `dhpe_lib.rendering.rasterizer.kernels.common`.
"""
