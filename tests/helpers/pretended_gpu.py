"""A GPU that is only pretended: tensors compute on the CPU, call themselves `cuda:0`, and keep to CUDA's rules.

Inside `with PretendedGpu() as gpu:` a tensor that is asked for on "cuda", and all that is computed from it, lies on the
pretended GPU. As on CUDA, an operation on tensors of both devices raises an error, and so do numpy arrays of tensors on
the GPU and random numbers from a generator of the other device. `gpu.waits` counts by kind and line of the library
whatever makes the host wait: `item`, boolean masks, `nonzero`, copies that are not pinned. Inside `gpu.capturing()` a
wait is an error, as it is while a CUDA graph is captured. A captured graph repeats its operations, and runs no Python.
A stream that reads a new tensor of another stream must have waited for it.

It shows neither numerics nor speed of a GPU. It finds races on new tensors, but none on memory that is changed or
freed. Kernels run on the CPU inside the operators of the renderer.
"""

import concurrent.futures
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

import torch
from project import ROOT
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.utils import clip_grad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import dhpe_lib.training.batches
from dhpe_lib.common import warp_runtime
from dhpe_lib.common.devices import constant, table

GPU, HOST = torch.device("cuda", 0), torch.device("cpu")
LIBRARY = f"{ROOT / 'dhpe_lib'}/"
aten = torch.ops.aten

ANY_DEVICES = {
    aten.copy_.default, aten._foreach_copy_.default, aten._to_copy.default, aten.detach.default,
    aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default,
    aten.set_.source_Tensor, aten.set_.source_Storage, aten.lift_fresh.default,
}  # fmt: skip
"""Operations that CUDA lets read tensors of both devices."""
HOST_NUMBERS = {aten.where.self, aten.fill.Tensor, aten.fill_.Tensor, aten.masked_fill.Tensor, aten.masked_fill_.Tensor}
"""Operations, beside the pointwise ones, that take a number of the host as a tensor without axes."""
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
WAITING = {
    aten._local_scalar_dense.default: "item",
    aten.nonzero.default: "nonzero",
    aten.masked_select.default: "masked_select",
    aten.equal.default: "equal",
    aten.repeat_interleave.Tensor: "repeat_interleave by a tensor",
    aten._unique2.default: "unique",
    aten.bincount.default: "bincount",
    aten.multinomial.default: "multinomial",
    aten._linalg_check_errors.default: "error check of linalg",
}
FROM_NUMBERS = (torch.tensor, torch.as_tensor, torch.asarray, torch.scalar_tensor, torch.Tensor.new_tensor)


Known = Counter
"""Number of tensors of each stream that a stream or the host has waited for."""


class RaceError(RuntimeError):
    """A stream reads a tensor of another one and has not waited for it."""


class CaptureError(RuntimeError):
    """The host waits inside a capture."""


def line_of_library() -> str:
    """The innermost line of the library that is running, as `folder/module.py:line`."""
    frame = sys._getframe(1)
    while frame is not None and not frame.f_code.co_filename.startswith(LIBRARY):
        frame = frame.f_back
    return "outside" if frame is None else f"{frame.f_code.co_filename.removeprefix(LIBRARY)}:{frame.f_lineno}"


class Future(concurrent.futures.Future):
    """The result of `AtOnce`."""

    gpu: "PretendedGpu"
    knows: Known

    def result(self, timeout: float | None = None) -> Any:
        self.gpu.host |= self.knows
        return super().result(timeout)


class AtOnce:
    """An executor that runs its work in the calling thread, since modes hold for one thread.

    The caller knows what the work has waited for when it asks for the result.
    """

    def __init__(self, gpu: "PretendedGpu") -> None:
        self.gpu = gpu

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        gpu, result = self.gpu, Future()
        result.gpu = gpu
        before = gpu.host.copy(), gpu.in_thread, gpu.stream
        gpu.in_thread, gpu.stream = True, gpu.main
        try:
            result.set_result(function(*arguments))
        except Exception as error:
            result.set_exception(error)
        result.knows, (gpu.host, gpu.in_thread, gpu.stream) = gpu.host, before
        return result


@contextmanager
def unseen() -> Iterator[None]:
    """Run torch without the pretence."""
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        yield


class Graph:
    """A pretended CUDA graph: its operations run once while they are captured, and again in each replay but the first.

    Attributes:
        replays: Number of replays.
    """

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, list[tuple[int, Tensor]]]] = []
        self.replays = 0

    def record(self, func: Any, args: Any, kwargs: Any, result: Any) -> None:
        """Note an operation, and those of its results that are new memory."""
        with unseen():
            given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
            known = {value.untyped_storage()._cdata for value in given}
            results = [(k, value) for k, value in enumerate(tree_leaves(result)) if isinstance(value, Tensor)]
            new = [(k, value) for k, value in results if value.untyped_storage()._cdata not in known]
        self.operations.append((func, args, kwargs, new))

    def replay(self) -> None:
        """Run the operations on the tensors of the capture, which are changed in place."""
        self.replays += 1
        if self.replays == 1:
            return
        with unseen(), torch.no_grad():
            for func, args, kwargs, new in self.operations:
                results = tree_leaves(func(*args, **kwargs))
                for k, value in new:
                    value.copy_(results[k])


class Stream:
    """A pretended stream: another stream may read its tensors only after it, or the host, has waited for them.

    Attributes:
        done: Number of tensors made on the stream.
        knows: For each stream the tensors that this one has waited for; `Counter.__or__` is the maximum.
    """

    def __init__(self, gpu: "PretendedGpu") -> None:
        self.gpu, self.done, self.knows = gpu, 0, Known()

    def record_event(self) -> Known:
        return self.knows | Known({self: self.done})

    def wait_event(self, event: Known) -> None:
        self.knows |= event

    def wait_stream(self, other: "Stream") -> None:
        self.wait_event(other.record_event())

    def synchronize(self) -> None:
        self.gpu.wait("synchronize")


class PretendedGpu:
    """The pretence, as a context.

    Attributes:
        waits: Number of waits of the main thread by (kind, line of the library).
        waits_of_threads: The same of other threads, which do not hold the main one.
        stream: The current stream.
        graphs: All captured graphs.
    """

    def __init__(self) -> None:
        self.waits: Counter[tuple[str, str]] = Counter()
        self.waits_of_threads: Counter[tuple[str, str]] = Counter()
        self.in_thread = False
        self.main = self.stream = Stream(self)
        self.host = Known()
        self.births: dict[StorageWeakRef, tuple[Stream, int]] = {}
        self.is_capturing = False
        self.graphs: list[Graph] = []
        self.in_transfer = False
        # "gpu", "pinned" or "open": made by C++ in a backward pass, where nobody sees for which device. Else the host.
        self.places: dict[StorageWeakRef, str] = {}
        self.generators: WeakKeyDictionary[torch.Generator, torch.device] = WeakKeyDictionary()
        self.stack = ExitStack()

    def place(self, tensor: Tensor) -> str:
        with unseen():
            return self.places.get(StorageWeakRef(tensor.untyped_storage()), "host")

    def put(self, values: Any, place: str) -> Any:
        """Note where the tensors of a result lie."""
        if len(self.places) > 10_000:
            self.places = {storage: where for storage, where in self.places.items() if not storage.expired()}
            self.births = {storage: birth for storage, birth in self.births.items() if not storage.expired()}
        for value in tree_leaves(values):
            if isinstance(value, Tensor):
                with unseen():
                    storage = StorageWeakRef(value.untyped_storage())
                self.places[storage] = place
                self.stream.done += 1
                self.births[storage] = self.stream, self.stream.done
        return values

    def check_stream(self, tensor: Tensor) -> None:
        """Refuse a tensor that another stream may not have made yet."""
        with unseen():
            stream, number = self.births.get(StorageWeakRef(tensor.untyped_storage()), (self.stream, 0))
        if stream is not self.stream and number > max(self.stream.knows[stream], self.host[stream]):
            raise RaceError(f"a stream reads a tensor of another one without waiting, at {line_of_library()}")

    @contextmanager
    def on_stream(self, stream: Stream) -> Iterator[None]:
        """Make a stream the current one inside the block."""
        before, self.stream = self.stream, stream
        try:
            yield
        finally:
            self.stream = before

    def on_gpu(self, tensor: Tensor) -> bool:
        return self.place(tensor) == "gpu"

    def wait(self, kind: str) -> None:
        (self.waits_of_threads if self.in_thread else self.waits)[kind, line_of_library()] += 1
        self.host |= self.stream.record_event()
        if self.is_capturing:
            raise CaptureError(f"operation not permitted when stream is capturing: {kind} at {line_of_library()}")

    def total(self) -> int:
        """Number of all waits of the main thread."""
        return sum(self.waits.values())

    @contextmanager
    def capturing(self) -> Iterator[None]:
        """Refuse waits inside the block."""
        self.is_capturing = True
        try:
            yield
        finally:
            self.is_capturing = False

    @contextmanager
    def graph(self, graph: Graph, *, stream: Stream, capture_error_mode: str) -> Iterator[None]:
        """Capture the operations inside the block; the stream must be named, as its device may not be the first."""
        self.graphs.append(graph)
        with self.capturing():
            yield

    def __enter__(self) -> "PretendedGpu":
        constant.cache_clear()
        table.cache_clear()
        threads = torch.get_num_threads()
        self.stack.callback(torch.set_num_threads, threads)
        torch.set_num_threads(1)
        for owner, name, value in self._replacements():
            self.stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, value)
        self.stack.enter_context(_Operations(self))
        self.stack.enter_context(_Calls(self))
        return self

    def __exit__(self, *_: object) -> None:
        constant.cache_clear()
        table.cache_clear()
        self.stack.close()

    def _replacements(self) -> list[tuple[Any, str, Any]]:
        gpu, true_generator = self, torch.Generator

        class Generator(torch.Generator):  # type: ignore[misc]
            def __new__(cls, device: torch.device | str = "cpu") -> "Generator":
                made = true_generator.__new__(cls)
                gpu.generators[made] = GPU if torch.device(device).type == "cuda" else HOST
                return made

            device = property(lambda its: gpu.generators[its])  # type: ignore[assignment]

        def grouped(*arguments: Any) -> dict[Any, Any]:
            """Group tensors as optimisers and the clipping of gradients do."""
            groups = true_grouped(*arguments).items()
            return {(GPU if gpu.on_gpu(its[0][0][0]) else place, kind): its for (place, kind), its in groups}

        optimiser, true_grouped = import_module("torch.optim.optimizer"), clip_grad._group_tensors_by_device_and_dtype
        return [
            (optimiser, "_group_tensors_by_device_and_dtype", grouped),
            (clip_grad, "_group_tensors_by_device_and_dtype", grouped),
            (dhpe_lib.training.batches, "ThreadPoolExecutor", lambda *_: AtOnce(gpu)),
            (warp_runtime, "missing_gpu", lambda: None),
            (torch.autograd, "has_torch_function", lambda *_: False),  # so that the modes hold in a backward pass
            (torch.cuda, "is_available", lambda: True),
            (torch.cuda, "mem_get_info", lambda *_: (100 << 30, 140 << 30)),
            (torch.cuda, "synchronize", lambda *_: gpu.wait("synchronize")),
            (torch.cuda, "is_current_stream_capturing", lambda: gpu.is_capturing),
            (torch.cuda, "CUDAGraph", Graph),
            (torch.cuda, "graph", gpu.graph),
            (torch.cuda, "Stream", lambda *_: Stream(gpu)),
            (torch.cuda, "current_stream", lambda *_: gpu.stream),
            (torch.cuda, "stream", gpu.on_stream),
            (torch.cuda, "set_device", lambda *_: None),
            (torch.cuda, "get_device_name", lambda *_: "pretended"),
            (Tensor, "record_stream", lambda *_: None),
            (torch.optim.Optimizer, "_accelerator_graph_capture_health_check", lambda *_: None),
            (torch, "Generator", Generator),
        ]


class _Calls(TorchFunctionMode):
    """Calls of torch from Python: where tensors are asked for, and where they are read."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu
        is_on = gpu.on_gpu
        self.answers: dict[Any, Callable[..., Any]] = {
            Tensor.is_cuda.__get__: is_on,
            Tensor.is_cpu.__get__: lambda its: not is_on(its),
            Tensor.pin_memory: lambda its, *_: gpu.put(its.clone(), "pinned"),
            Tensor.is_pinned: lambda its, *_: gpu.place(its) == "pinned",
            Tensor.cpu: lambda its: self.move(its, HOST),
            Tensor.cuda: lambda its, *_: self.move(its, GPU),
            Tensor.to: self.to,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == Tensor.device.__get__:
            return GPU if self.gpu.on_gpu(args[0]) else func(*args)
        if func in self.answers:
            return self.answers[func](*args, **kwargs)
        if func is Tensor.backward:
            with self:
                return torch.autograd.backward(args[0], kwargs.pop("gradient", None), *args[1:], **kwargs)
        if func in (Tensor.numpy, Tensor.__array__, Tensor.tolist) and self.gpu.on_gpu(args[0]):
            if func is not Tensor.tolist:
                raise TypeError(f"can't convert cuda:0 device type tensor to numpy, at {line_of_library()}")
            self.gpu.wait("tolist")
            with unseen():
                return func(*args, **kwargs)
        if func in (torch.device, torch._C._nn._parse_to, Tensor.data_ptr, Tensor.untyped_storage):
            return func(*args, **kwargs)
        return self.make(func, args, kwargs)

    def make(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Call a function that may name a device; its result lies there."""
        named = [value for value in (*args, kwargs.get("device")) if isinstance(value, torch.device)]
        named += [torch.device(value) for value in [kwargs.get("device")] if isinstance(value, str)]
        args = tuple(HOST if isinstance(value, torch.device) else value for value in args)
        if kwargs.get("device") is not None:
            kwargs["device"] = HOST
        self.check_generator(func, args, kwargs, named)
        result = func(*args, **kwargs)
        if named:
            on_gpu = named[0].type == "cuda"
            self.gpu.put(result, "gpu" if on_gpu else "host")
            if on_gpu and func in FROM_NUMBERS:
                self.gpu.wait("copy of numbers to the GPU")
            return result
        if func is Tensor.new_tensor and self.gpu.on_gpu(args[0]):
            self.gpu.put(result, "gpu")
            self.gpu.wait("copy of numbers to the GPU")
            return result
        for value in tree_leaves(result):
            if isinstance(value, Tensor) and self.gpu.place(value) == "open":
                self.gpu.put(value, "host")
        return result

    def check_generator(self, func: Any, args: Any, kwargs: Any, named: list[torch.device]) -> None:
        generator = kwargs.get("generator")
        if generator is None:
            return
        of_generator = self.gpu.generators.get(generator, HOST).type
        in_place = args and isinstance(args[0], Tensor)
        of_result = args[0].device.type if in_place else named[0].type if named else "cpu"
        if in_place and self.gpu.on_gpu(args[0]):
            of_result = "cuda"
        if of_generator != of_result:
            raise RuntimeError(f"Expected a '{of_result}' generator, found '{of_generator}', at {line_of_library()}")

    def to(self, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """`Tensor.to` in all its forms."""
        target, rest = None, []
        for value in (*args, kwargs.pop("device", None), kwargs.pop("other", None)):
            if isinstance(value, Tensor):
                target = GPU if self.gpu.on_gpu(value) else HOST
                rest.append(value.dtype)
            elif isinstance(value, torch.device | str):
                target = torch.device(value)
            elif isinstance(value, torch.dtype):
                rest.append(value)
        lazy = kwargs.pop("non_blocking", False)
        if target is None:
            return Tensor.to(tensor, *rest, **kwargs)
        return self.move(tensor, target, lazy, *rest, **kwargs)

    def move(self, tensor: Tensor, target: torch.device, lazy: bool = False, *rest: Any, **kwargs: Any) -> Tensor:
        """Copy a tensor to a device, unless it lies there."""
        before = self.gpu.place(tensor)
        if (target.type == "cuda") == (before == "gpu"):
            return Tensor.to(tensor, *rest, **kwargs)
        if before == "gpu" and lazy:
            raise RaceError(f"the host reads a copy that may not be complete, at {line_of_library()}")
        self.gpu.in_transfer = True
        try:
            with torch._C.DisableTorchFunction():
                moved = Tensor.to(tensor, *rest, **kwargs)
                if moved.untyped_storage()._cdata == tensor.untyped_storage()._cdata:
                    moved = moved.clone(memory_format=torch.preserve_format)
        finally:
            self.gpu.in_transfer = False
        self.gpu.put(moved, "gpu" if target.type == "cuda" else "host")
        if before != "pinned" or not lazy:
            self.gpu.wait("copy from the GPU" if before == "gpu" else "copy to the GPU that is not pinned")
        return moved


class _Operations(TorchDispatchMode):
    """Operations of torch, also those of a backward pass: whose tensors meet, and what waits."""

    def __init__(self, gpu: PretendedGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = self.answer(func, args, kwargs)
        if self.gpu.is_capturing and self.gpu.graphs:
            self.gpu.graphs[-1].record(func, args, kwargs, result)
        return result

    def answer(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation, and note on which device its result lies."""
        given = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        places = [self.gpu.place(value) for value in given]
        if self.gpu.in_transfer:
            return func(*args, **kwargs)
        if not set(places) - {"open"}:
            return self.gpu.put(self.run(func, args, kwargs), "open")
        if "gpu" not in places:
            return self.run(func, args, kwargs)
        self.check(func, args, kwargs, given, places)
        for value, place in zip(given, places, strict=True):
            if place == "gpu":
                self.gpu.check_stream(value)
        result = self.run(func, args, kwargs)
        known = {StorageWeakRef(value.untyped_storage()) for value in given}
        fresh = [value for value in tree_leaves(result) if isinstance(value, Tensor)]
        self.gpu.put([value for value in fresh if StorageWeakRef(value.untyped_storage()) not in known], "gpu")
        return result

    def run(self, func: Any, args: Any, kwargs: Any) -> Any:
        if func.namespace == "dhpe":
            with unseen():
                return func(*args, **kwargs)
        return func(*args, **kwargs)

    def check(self, func: Any, args: Any, kwargs: Any, given: list[Tensor], places: list[str]) -> None:
        """Refuse tensors of two devices, and note waits."""
        strangers = [value for value, place in zip(given, places, strict=True) if place in ("host", "pinned")]
        if strangers and func not in ANY_DEVICES:
            takes_numbers = torch.Tag.pointwise in func.tags or func in HOST_NUMBERS or "_fo" in func.name()
            if not takes_numbers or any(value.dim() for value in strangers):
                met = [(tuple(value.shape), place) for value, place in zip(given, places, strict=True)]
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu: "
                    f"{func} of {met} at {line_of_library()}"
                )
        if func is aten.copy_.default and places[0] != places[1] and places[1] not in ("pinned", "open"):
            self.gpu.wait("copy_ between devices")
        if func in INDEXING:
            self.check_indices(args)
        if func in WAITING and kwargs.get("output_size") is None:  # with its size a result needs no wait
            self.gpu.wait(WAITING[func])

    def check_indices(self, args: Any) -> None:
        indices = [index for index in args[1] if index is not None]
        if not self.gpu.on_gpu(args[0]) and any(map(self.gpu.on_gpu, indices)):
            raise RuntimeError(f"indices should be on the device of the indexed tensor (cpu), at {line_of_library()}")
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            self.gpu.wait("boolean index")
        elif not all(map(self.gpu.on_gpu, indices)):
            self.gpu.wait("index of the host")
