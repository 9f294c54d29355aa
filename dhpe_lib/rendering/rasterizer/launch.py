"""Launch Warp kernels on torch tensors without a copy: on torch's current CUDA stream, or in several CPU threads."""

from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from threading import Thread
from typing import Any

import torch
import warp as wp
from jaxtyping import Float, Int, Int32, Integer
from torch import Tensor

from dhpe_lib.common.warp_runtime import missing_gpu

Argument = Tensor | float | bool
# A tensor or a number that a kernel takes.

MAX_BANDS = 8
"""Largest number of CPU threads that share one launch."""


@lru_cache
def _load(module: str, device: str) -> None:
    """Compile a module of kernels for a device, or load it from Warp's cache, before several threads need it.

    Raises:
        RuntimeError: Warp cannot use the GPU that PyTorch uses; the message names the driver that it needs.
    """
    if device.startswith("cuda") and (reason := missing_gpu()) is not None:
        raise RuntimeError(f"the renderer cannot run on {device}: {reason}")
    wp.load_module(module, device=device)


@cache
def _stream_of(stream: torch.cuda.Stream) -> wp.Stream:
    """Return Warp's handle of a stream of PyTorch, made once.

    Warp's list of streams is not safe for threads, and two threads of a training launch kernels. PyTorch never destroys
    its streams.
    """
    return wp.stream_from_torch(stream)


@lru_cache
def _overload_for(kernel: wp.Kernel, dtypes: tuple[torch.dtype, ...]) -> wp.Kernel:
    """Return the overload of a kernel for tensors of these types; Warp would take 50 us to infer it in each launch."""
    wanted = [wp.dtype_from_torch(dtype) for dtype in dtypes]
    for overload in kernel.overloads.values():
        if [argument.type.dtype for argument in overload.adj.args if hasattr(argument.type, "dtype")] == wanted:
            return overload
    raise TypeError(f"{kernel.key} has no version for {', '.join(map(str, dtypes))}")


def operator(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a function of tensors and numbers that launches kernels: it becomes the operator `dhpe::name`.

    `torch.library.register_fake` then gives it the shapes of its results, and `torch.library.register_autograd` its
    gradient. Results must be new tensors.

    `torch.library.custom_op` is shorter, but the first call of such an operator imports PyTorch's compiler, which takes
    more than two seconds.
    """

    def register(function: Callable[..., Any]) -> Any:
        torch.library.define(f"dhpe::{name}", torch.library.infer_schema(function, mutates_args=()))
        torch.library.impl(f"dhpe::{name}", "default", function)
        return getattr(torch.ops.dhpe, name).default

    return register


def backward_operator(name: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorate a function as :func:`operator` does; a gradient through the operator raises a RuntimeError."""

    def register(function: Callable[..., Any]) -> Any:
        backward = operator(name)(function)
        torch.library.register_autograd(backward, _refuse_second_derivative)
        return backward

    return register


def _refuse_second_derivative(ctx: Any, *gradients: Tensor) -> None:
    raise RuntimeError("the renderer has no second derivatives; call backward or grad without create_graph")


def launch(kernel: wp.Kernel, dim: tuple[int, ...], arguments: Sequence[Argument]) -> None:
    """Run a kernel on the device of the tensors: in one launch on CUDA, with one band per thread on the CPU.

    On CUDA the launch does not wait for the device. The first call loads the kernel; later calls can be captured in a
    CUDA graph.

    Args:
        kernel: Kernel whose parameters are `band`, `bands` and then the arguments.
        dim: Size of the grid.
        arguments: Tensors, numbers and booleans. Numbers are converted to the scalar type of the first tensor.

    Raises:
        ValueError: Two tensors are on different devices.
        TypeError: The kernel has no version for the types of the tensors.
        RuntimeError: Warp cannot use the GPU of the tensors.
    """
    if 0 in dim:
        return
    tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
    device = tensors[0].device
    for tensor in tensors:
        if tensor.device != device:
            raise ValueError(f"{kernel.key} reads tensors on {device} and on {tensor.device}; move them to one device")
    _load(kernel.module.name, str(device))
    overload, scalar = _overload_for(kernel, tuple(t.dtype for t in tensors)), wp.dtype_from_torch(tensors[0].dtype)
    inputs = [_argument(argument, scalar) for argument in arguments]
    if device.type == "cuda":
        wp.launch(overload, dim, [0, 1, *inputs], stream=_stream_of(torch.cuda.current_stream(device)))
        return
    bands = count_bands(device)
    failures: list[Exception] = []

    def one_band(band: int) -> None:
        try:
            wp.launch(overload, dim, [band, bands, *inputs], device="cpu")
        except Exception as error:  # a thread would only print it
            failures.append(error)

    others = [Thread(target=one_band, args=(band,)) for band in range(1, bands)]
    # Starting new threads takes 50 us. A pool that is kept would hang in a forked data loader.
    for thread in others:
        thread.start()
    one_band(0)
    for thread in others:
        thread.join()
    if failures:
        raise failures[0]


def _argument(value: Tensor | float | bool, scalar: type) -> object:
    """Convert an argument for a kernel; a tensor becomes a pointer with shape and strides."""
    if isinstance(value, Tensor):
        return wp.from_torch(value, requires_grad=False, return_ctype=True)
    return value if isinstance(value, bool) else scalar(value)


def launch_rows(kernel: wp.Kernel, shape: tuple[int, ...], arguments: Sequence[Argument]) -> None:
    """Run a kernel for each pixel; row `row` of a band's grid is row `row * bands + band` of the image.

    Args:
        kernel: Kernel whose parameters are `band`, `bands` and then the arguments. It must skip rows outside the image.
        shape: Images, rows and columns.
        arguments: See `launch`.
    """
    images, rows, columns = shape
    bands = count_bands(next(a for a in arguments if isinstance(a, Tensor)).device)
    launch(kernel, (images, -(-rows // bands), columns), arguments)


def count_bands(device: torch.device) -> int:
    """Return the number of bands of a launch: one for each thread, up to `MAX_BANDS`; 1 on CUDA.

    The limit is there because starting a thread takes 0.1 ms under Python's lock.
    """
    return min(torch.get_num_threads(), MAX_BANDS) if device.type == "cpu" else 1


def zeros_for_gradient(values: Float[Tensor, "sets rows n"]) -> Float[Tensor, "bands sets rows n"]:
    """Make a zero gradient for each band, so that threads add without a lock and the sum is deterministic."""
    return values.new_zeros(count_bands(values.device), *values.shape)


def prepare_faces(
    screen: Float[Tensor, "batch vertices n"],
    faces: Integer[Tensor, "faces 3"] | Integer[Tensor, "meshes faces 3"],
) -> Int32[Tensor, "one_or_batch faces 3"]:
    """Check faces, without waiting for a GPU, and convert them to the layout that the kernels read.

    Args:
        screen: Vertices or other rows that the faces index, in any unit.
        faces: One topology for all meshes, or one for each; rows of -1 pad a shorter topology.

    Returns:
        One topology for all meshes, or one for each.

    Raises:
        TypeError: The vertices are neither float32 nor float64, or the faces are not integers.
        ValueError: The vertices do not have shape [batch, vertices, n], the faces do not have shape [faces, 3] or
            [1 or batch, faces, 3], or the faces are on another device.
        IndexError: A face has an index that does not exist. On CUDA this is not checked, since the check would wait for
            the device, nor under `torch.compile`; such a face is not drawn.
    """
    if not (isinstance(screen, Tensor) and isinstance(faces, Tensor)):
        raise TypeError(
            f"vertices and faces are {type(screen).__name__} and {type(faces).__name__}; give torch tensors"
        )
    if screen.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"vertices are {screen.dtype}; the renderer works in float32 and float64: convert them first")
    if faces.dtype not in (torch.int32, torch.int64):
        raise TypeError(f"faces are {faces.dtype}; vertex indices are int32 or int64")
    if screen.ndim != 3:
        raise ValueError(
            f"vertices have shape {tuple(screen.shape)}; give [batch, vertices, 3]: one mesh is mesh[None]"
        )
    if faces.ndim not in (2, 3) or faces.shape[-1] != 3 or (faces.ndim == 3 and len(faces) not in (1, len(screen))):
        raise ValueError(
            f"faces have shape {tuple(faces.shape)} for {len(screen)} meshes; give [faces, 3] or [batch, faces, 3]"
        )
    if faces.device != screen.device:
        raise ValueError(f"faces are on {faces.device}, vertices on {screen.device}: move one of them")
    faces = faces.long() if faces.ndim == 3 else faces.long()[None]
    if faces.device.type == "cpu" and faces.numel() and not torch.compiler.is_compiling():
        used = faces[(faces != -1).any(-1)]
        first, last = (int(used.min()), int(used.max())) if len(used) else (0, -1)
        if first < 0 or last >= screen.shape[1]:
            raise IndexError(f"faces use vertices {first} to {last}, but there are only 0 to {screen.shape[1] - 1}")
    return faces.int().contiguous()


def find_neighbours(faces: Int32[Tensor, "meshes faces 3"]) -> Int[Tensor, "meshes faces 3"]:
    """Find the face on the other side of each edge, without waiting for a GPU.

    Args:
        faces: Vertex indices; edge e runs from corner e to corner e + 1.

    Returns:
        Row of `faces` of the neighbour at each edge; -1 if there is none or more than one.
    """
    # Two faces are neighbours if the keys of their edges, (smaller vertex, larger vertex), are equal. After sorting,
    # equal keys are next to each other.
    starts, ends = faces.long().flatten(1), faces.long().roll(-1, -1).flatten(1)
    keys = torch.minimum(starts, ends) * 2**31 + torch.maximum(starts, ends)
    keys, order = keys.sort(dim=1, stable=True)
    same = torch.nn.functional.pad(keys[:, 1:] == keys[:, :-1], (1, 1))  # same[i]: key i equals key i - 1
    before, after = same[:, :-1], same[:, 1:]
    none = torch.zeros_like(before)
    first_of_two = after & ~before & ~torch.cat([after[:, 1:], none[:, :1]], 1)
    second_of_two = torch.cat([none[:, :1], first_of_two[:, :-1]], 1)
    mate = torch.where(first_of_two, order.roll(-1, 1), order.roll(1, 1)) // 3
    mate = torch.where(first_of_two | second_of_two, mate, -1)
    return torch.empty_like(order).scatter(1, order, mate).view(faces.shape).int()
