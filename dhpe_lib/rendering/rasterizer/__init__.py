"""The rasterizer: Warp kernels, the torch functions that call them, and a reference implementation in plain torch.

All functions take screen coordinates in pixels, `screen [batch, vertices, 3]`; see
`dhpe_lib.rendering.rasterizer.kernels.common`.
"""
