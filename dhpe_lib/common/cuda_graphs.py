"""Replay the kernels of a function as one CUDA graph: one launch by the host instead of hundreds.

The library uses it for :meth:`dhpe_lib.network.estimator.Estimator.predict` and for the steps of a descent. On the
CPU, and with the environment variable ``DHPE_CUDA_GRAPHS=0``, the functions are called plainly. It was tested on a
pretended GPU only.
"""

import os
import warnings
from collections.abc import Callable, Hashable
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dhpe_lib.common.records import map_rows

SWITCH = "DHPE_CUDA_GRAPHS"
"""Environment variable; 0 turns CUDA graphs off."""
WARM_UP = 3
"""Number of plain calls before a capture; they load kernels, and optimisers allocate their state."""
KEPT = 2
"""Number of graphs that a module keeps, since each holds the memory of its intermediate results."""


def may_replay(device: torch.device) -> bool:
    """Return whether functions on this device are replayed: on CUDA, unless the caller captures or compiles."""
    return (
        device.type == "cuda"
        and os.environ.get(SWITCH) != "0"
        and not torch.compiler.is_compiling()
        and not torch.cuda.is_current_stream_capturing()
    )


class Replayed:
    """A function that CUDA replays as a graph from its fourth call on; each call, plain or replayed, is one step.

    A replay repeats the kernels and runs no Python. The function may therefore change tensors in place, but nothing
    else, and it must not wait for the device. The tensors that it reads must stay where they are. If it cannot be
    captured, a warning says why, and all calls are plain.

    Args:
        function: Function of tensors, whose shapes are the same in each call. It returns tensors, None, or tuples and
            dataclasses of them.
        device: Device of the tensors.
    """

    def __init__(self, function: Callable[..., Any], device: torch.device) -> None:
        self.function, self.device = function, device
        self.calls = 0
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()
        self.results: Any = None
        self.fails = False

    def __call__(self, *inputs: Tensor) -> Any:
        """Call the function, or copy the inputs and replay its graph; the results are new tensors."""
        if self.fails or not may_replay(self.device):
            return self.function(*inputs)
        if self.graph is None and self.calls < WARM_UP:
            self.calls += 1
            return self._warm_up(inputs)
        if self.graph is None and not self._capture(inputs):
            return self.function(*inputs)
        assert self.graph is not None
        for kept, value in zip(self.inputs, inputs, strict=True):
            kept.copy_(value)
        self.graph.replay()
        return copies(self.results)

    def _warm_up(self, inputs: tuple[Tensor, ...]) -> Any:
        """Call the function on a side stream, as PyTorch asks before a capture."""
        here, aside = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)
        aside.wait_stream(here)
        with torch.cuda.stream(aside), warnings.catch_warnings():
            # Adam warns that a step that could be captured is not.
            warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
            results = self.function(*inputs)
        here.wait_stream(aside)
        return results

    def _capture(self, inputs: tuple[Tensor, ...]) -> bool:
        """Capture the function without running it, and return whether that was possible."""
        graph, kept = torch.cuda.CUDAGraph(), tuple(value.clone() for value in inputs)
        torch.clear_autocast_cache()  # weights that an earlier call has cast are freed, and the graph would read them
        try:
            # The stream is named, since PyTorch's own may lie on another GPU, and the graph would be empty. Other
            # threads, which make pools and read ahead, may go on allocating and copying.
            with torch.cuda.graph(graph, stream=torch.cuda.Stream(self.device), capture_error_mode="thread_local"):
                results = self.function(*kept)
        except RuntimeError as error:
            warnings.warn(f"no CUDA graph, so each step is launched kernel by kernel: {error}", stacklevel=3)
            self.fails = True
            return False
        finally:
            torch.clear_autocast_cache()
        self.graph, self.inputs, self.results = graph, kept, results
        return True


class ReplayedCalls:
    """The latest graphs of the functions of a module; a copy or a pickle of it has none."""

    def __init__(self) -> None:
        self.kept: dict[Hashable, Replayed] = {}

    def __reduce__(self) -> tuple[type["ReplayedCalls"], tuple[()]]:
        return ReplayedCalls, ()

    def call(self, function: Callable[[Tensor], Any], values: Tensor, module: nn.Module, kind: Hashable) -> Any:
        """Call a function of a batch, and replay it if it is called again and again.

        Args:
            function: Function of the values. Beside them it reads parameters and buffers of the module only.
            values: One row for each item of the batch.
            module: Its weights may change in place. If they move, a new graph is captured.
            kind: Distinguishes functions of equal inputs.

        Returns:
            The results of the function, in new tensors.
        """
        if not may_replay(values.device):
            return function(values)
        places = tuple(tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers()))
        lowered = torch.is_autocast_enabled("cuda") and torch.get_autocast_dtype("cuda")
        key = (kind, values.shape, values.dtype, values.device, lowered, places)
        replayed = self.kept.pop(key, None) or Replayed(function, values.device)
        self.kept[key] = replayed
        for old in list(self.kept)[:-KEPT]:
            del self.kept[old]
        return replayed(values)


def copies(results: Any) -> Any:
    """Return results with a copy of each tensor, since the next replay overwrites them."""
    if isinstance(results, Tensor):
        return results.clone()
    if isinstance(results, tuple):
        return tuple(copies(value) for value in results)
    return map_rows(results, copies) if is_dataclass(results) else results
