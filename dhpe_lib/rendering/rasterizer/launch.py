"""From torch tensors to a Warp launch: zero copy, torch's current stream on CUDA, several threads on the CPU."""

from collections.abc import Sequence
from functools import lru_cache
from threading import Thread

import torch
import warp as wp
from jaxtyping import Float, Int, Int32, Integer
from torch import Tensor

MOST_BANDS = 8
"""At most so many threads share one launch."""


@lru_cache
def _load(module: str, device: str) -> None:
    """Compile a module of kernels for a device, or take it from Warp's cache, before several threads ask for it."""
    wp.load_module(module, device=device)


def launch(kernel: wp.Kernel, dim: tuple[int, ...], arguments: Sequence[Tensor | float | bool]) -> None:
    """Run a kernel where the tensors are: on CUDA all at once, on the CPU one band in each thread.

    On CUDA nothing waits for the device, so that a launch can be captured in a CUDA graph once the kernel is loaded,
    which its first call does.

    Args:
        kernel: Takes `band`, `bands` and then the arguments.
        dim: Size of the grid.
        arguments: The first is a tensor of the scalar type that numbers among them are turned into.
    """
    if 0 in dim:
        return
    first = next(argument for argument in arguments if isinstance(argument, Tensor))
    scalar = wp.dtype_from_torch(first.dtype)
    inputs = [
        wp.from_torch(a.detach()) if isinstance(a, Tensor) else a if isinstance(a, bool) else scalar(a)
        for a in arguments
    ]
    _load(kernel.module.name, str(first.device))
    if first.device.type == "cuda":
        wp.launch(kernel, dim, [0, 1, *inputs], stream=wp.stream_from_torch(first.device))
        return
    bands = count_bands(first.device)
    failures: list[Exception] = []

    def one_band(band: int) -> None:
        try:
            wp.launch(kernel, dim, [band, bands, *inputs], device="cpu")
        except Exception as error:  # of a thread would otherwise be printed and forgotten
            failures.append(error)

    others = [Thread(target=one_band, args=(band,)) for band in range(1, bands)]
    for thread in others:  # started anew each time (50 us), since a kept pool would hang in a forked data loader
        thread.start()
    one_band(0)
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]


def launch_rows(kernel: wp.Kernel, shape: tuple[int, ...], arguments: Sequence[Tensor | float | bool]) -> None:
    """Run a kernel for each pixel: `launch`, with each band's rows (row * bands + band) as its grid.

    Args:
        kernel: Takes `band`, `bands` and then the arguments; has to leave out rows beyond the image.
        shape: Images, rows and columns.
        arguments: As for `launch`.
    """
    images, rows, columns = shape
    bands = count_bands(next(a for a in arguments if isinstance(a, Tensor)).device)
    launch(kernel, (images, -(-rows // bands), columns), arguments)


def count_bands(device: torch.device) -> int:
    """Into how many bands a launch is split: one for each thread, but starting one takes 0.1 ms under Python's lock."""
    return min(torch.get_num_threads(), MOST_BANDS) if device.type == "cpu" else 1


def gradient_of(values: Float[Tensor, "rows places n"]) -> Float[Tensor, "bands rows places n"]:
    """Zeros for a gradient, one for each band: threads add without a lock, and the sum is the same every time."""
    return values.new_zeros(count_bands(values.device), *values.shape)


def prepare_faces(
    places: Float[Tensor, "batch vertices n"],
    faces: Integer[Tensor, "faces 3"] | Integer[Tensor, "meshes faces 3"],
) -> Int32[Tensor, "one_or_batch faces 3"]:
    """The faces as the kernels read them, after the checks that need no waiting for a GPU.

    Args:
        places: What the faces name the rows of.
        faces: One topology, or one for each mesh; rows of -1 fill up a shorter one.

    Returns:
        One topology or as many as meshes.

    Raises:
        TypeError: The places are neither float32 nor float64, or the faces no integers.
        ValueError: A shape that is not [batch, vertices, n] and [faces, 3] or [1 or batch, faces, 3]; faces on another
            device.
        IndexError: A face names a row that is not there (on CUDA such a face is not drawn: asking would wait).
    """
    if not (isinstance(places, Tensor) and isinstance(faces, Tensor)):
        raise TypeError(
            f"vertices and faces are {type(places).__name__} and {type(faces).__name__}; give torch tensors"
        )
    if places.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"vertices are {places.dtype}; the renderer works in float32 and float64: convert them first")
    if faces.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"faces are {faces.dtype}; vertex indices are int32 or int64")
    if places.ndim != 3:
        raise ValueError(
            f"vertices have shape {tuple(places.shape)}; give [batch, vertices, 3]: one mesh is mesh[None]"
        )
    if faces.ndim not in (2, 3) or faces.shape[-1] != 3 or (faces.ndim == 3 and len(faces) not in (1, len(places))):
        raise ValueError(
            f"faces have shape {tuple(faces.shape)} for {len(places)} meshes; give [faces, 3] or [batch, faces, 3]"
        )
    if faces.device != places.device:
        raise ValueError(f"faces are on {faces.device}, vertices on {places.device}: move one of them")
    faces = faces.long() if faces.ndim == 3 else faces.long()[None]
    if faces.device.type == "cpu" and faces.numel():
        named = faces[(faces != -1).any(-1)]
        first, last = (int(named.min()), int(named.max())) if len(named) else (0, -1)
        if first < 0 or last >= places.shape[1]:
            raise IndexError(f"faces name vertices {first} to {last}, but there are only 0 to {places.shape[1] - 1}")
    return faces.int().contiguous()


def find_neighbours(faces: Int32[Tensor, "meshes faces 3"]) -> Int[Tensor, "meshes faces 3"]:
    """The face on the other side of each edge, -1 where there is none or more than one.

    Args:
        faces: Vertex indices; edge e runs from corner e to corner e + 1.

    Returns:
        For each edge the neighbour's row of `faces`. No step waits for a GPU.
    """
    starts, ends = faces.long().flatten(1), faces.long().roll(-1, -1).flatten(1)
    keys = torch.minimum(starts, ends) * 2**31 + torch.maximum(starts, ends)
    keys, order = keys.sort(dim=1, stable=True)
    same = torch.nn.functional.pad(keys[:, 1:] == keys[:, :-1], (1, 1))  # same[i]: the i-th equals the one before
    before, after = same[:, :-1], same[:, 1:]
    lonely = torch.zeros_like(before)
    first_of_two = after & ~before & ~torch.cat([after[:, 1:], lonely[:, :1]], 1)
    second_of_two = torch.cat([lonely[:, :1], first_of_two[:, :-1]], 1)
    mate = torch.where(first_of_two, order.roll(-1, 1), order.roll(1, 1)) // 3
    mate = torch.where(first_of_two | second_of_two, mate, -1)
    return torch.empty_like(order).scatter(1, order, mate).view(faces.shape).int()
