"""The Warp kernels of the rasterizer, one module for each formula; these modules do not import torch."""
