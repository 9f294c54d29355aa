"""Share two flags among the processes of a training: a loss or h was not finite, and the run is to stop.

The host reads these flags from the device, and waits for all of its kernels to do so. On a GPU it therefore reads them
every :data:`AGREE_EVERY` steps only. After a loss or h that is not finite, a flag on the device keeps the optimiser
from changing the weights until then (:func:`dhpe_lib.training.optimiser.step_unless`).
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from lightning_fabric import Fabric
from torch import Tensor

from dhpe_lib.training.batches import BatchPlan
from dhpe_lib.training.config import TrainingConfig

AGREE_EVERY = 10
"""Number of steps on a GPU after which the flags are read."""
NEVER = torch.iinfo(torch.int64).max


@dataclass
class Stop:
    """Whether this process received Ctrl-C or SIGTERM."""

    asked: bool = False


@contextmanager
def interrupts(processes: int) -> Iterator[Stop]:
    """Let Ctrl-C or SIGTERM, a cluster's notice, end the loop after a step, and a second Ctrl-C end it at once.

    With several processes a second Ctrl-C has no effect, since torchrun passes each Ctrl-C on a second time.
    """
    stop = Stop()

    def ask(*_: object) -> None:
        stop.asked = True
        if processes == 1:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        yield stop
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Flags:
    """The flags of all processes, on the device; all processes must make the same calls.

    Args:
        fabric: The launched Fabric.
        stop: Whether this process was asked to stop.
    """

    def __init__(self, fabric: Fabric, stop: Stop) -> None:
        self.processes, self.stop = fabric.world_size, stop
        # The first step whose loss or h is not finite, and the first step in which a process was asked to stop.
        self.first = torch.full((2,), NEVER, device=fabric.device)

    def note(self, loss: Float[Tensor, ""], h: Float[Tensor, "b 63"], step: int) -> None:
        """Note whether loss and h of a step are finite, and whether to stop; the host does not wait for a GPU."""
        infinite = (loss.detach().isfinite() & h.isfinite().all()).logical_not()
        now = torch.stack((infinite, torch.full_like(infinite, self.stop.asked))).float()
        if self.processes > 1:
            torch.distributed.all_reduce(now)  # Fabric's would begin with a barrier, where the host waits
        self.first = torch.where((now > 0) & (self.first == NEVER), step, self.first)

    @property
    def bad(self) -> Bool[Tensor, ""]:
        """Whether a loss or h was not finite, on the device."""
        return self.first[0] < NEVER

    def read(self) -> tuple[int | None, bool]:
        """Wait for the device.

        Returns:
            The first step whose loss or h is not finite in any process, and whether any process was asked to stop.
        """
        bad, asked = self.first.tolist()
        return None if bad == NEVER else bad, asked < NEVER


def reads_flags(step: int, config: TrainingConfig, plan: BatchPlan, device: torch.device) -> bool:
    """Return whether the flags are read in a step, between its loss and its change of the weights.

    They are read in each step on a CPU, and before seeds become novel views. On a GPU they are also read before
    anything is logged, tested or saved.
    """
    done, every = step + 1, (AGREE_EVERY, config.log_every, config.test_every, config.save_every)
    always = device.type == "cpu" or plan.novel_views_at(done) > 0 or done == config.steps
    return always or any(done % number == 0 for number in every)
