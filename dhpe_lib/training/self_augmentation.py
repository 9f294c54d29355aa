"""Self-supervised augmentation (Sec. 3.5): each hand that the network sees becomes three new ones, labelled exactly.

What a child is and how it is drawn stands in :mod:`dhpe_lib.training.novel_views`.

The training set grows by what is needed to draw a child, not by its pictures: h, a colour for each vertex, the light.
That is less than two hundredths of a picture with its labels, so a bounded set reaches far back, fits into checkpoints,
and each time a child is drawn it has another background, crop and tint. Nothing here has a gradient. The chapter is
*Self-supervised augmentation*.
"""

from collections.abc import Mapping
from dataclasses import fields

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.targets import Targets, joint_error_px
from dhpe_lib.data.views import View
from dhpe_lib.hand.model import HandModel
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.training.batches import Backgrounds, Portion
from dhpe_lib.training.config import TrainingConfig
from dhpe_lib.training.novel_views import LINEAR, Children, Studio


class GrowingSet:
    """Children of all mini-batches, up to a number: when it is full, the oldest make room.

    The oldest, not any: later seeds are those of a better network.

    Args:
        capacity: Children that it holds.
        vertices: Of the mesh.
        device: Where it is kept.
    """

    def __init__(self, capacity: int, vertices: int, device: torch.device) -> None:
        self.count = 0
        self.rows = Children(
            torch.zeros(capacity, 63, device=device),
            torch.zeros(capacity, vertices, 3, dtype=torch.uint8, device=device),
            torch.zeros(capacity, LINEAR, 3, device=device),
        )

    def __len__(self) -> int:
        return min(self.count, len(self.rows))

    @property
    def bytes(self) -> int:
        """Memory that it takes, full or empty."""
        return sum(value.numel() * value.element_size() for value in vars(self.rows).values())

    def add(self, children: Children) -> None:
        """Put children in, in their order."""
        kept = min(len(children), len(self.rows))
        places = torch.arange(self.count + len(children) - kept, self.count + len(children)) % len(self.rows)
        for field in fields(Children):
            getattr(self.rows, field.name)[places] = getattr(children, field.name)[len(children) - kept :]
        self.count += len(children)

    def draw(self, n: int, seed: int) -> Children:
        """Choose some, each as likely as any other.

        Raises:
            ValueError: There are none.
        """
        if not len(self):
            raise ValueError("the growing set is empty: no mini-batch had children yet")
        rows = torch.randint(len(self), (n,), generator=torch.Generator().manual_seed(seed))
        return take_rows(self.rows, rows.to(self.rows.h.device))

    def state(self) -> dict[str, Tensor]:
        """All of it, for a checkpoint."""
        return vars(self.rows) | {"count": torch.tensor(self.count, device=self.rows.h.device)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state` gave, or its first rows where it was not full."""
        self.count = int(state["count"])
        for field in fields(Children):
            saved = state[field.name]
            getattr(self.rows, field.name)[: len(saved)] = saved.to(self.rows.h.device)


class Augmentation:
    """The growing set of one process: ``spawn`` after a step, ``extend`` before the next.

    Seeds are the pictures that are no children themselves: a child's child would have a copy of a copy of a skin.

    Args:
        model: The network's hand, on the device of the training.
        config: Its fields `augment_...`, the jitter and tau.
        portion: How batches are filled, from when on they have children, seed and number of the process.
        backgrounds: To put behind children.
    """

    def __init__(self, model: HandModel, config: TrainingConfig, portion: Portion, backgrounds: Backgrounds) -> None:
        self.studio, self.config, self.portion, self.backgrounds = Studio.of(model), config, portion, backgrounds
        device = model.v_template.device
        self.grown = GrowingSet(config.augment_capacity, len(model.v_template), device)

    def extend(self, view: View, step: int) -> View:
        """The view of a step with as many children as belong to it; with none while the set is empty."""
        n = self.portion.children_at(step)
        if not n or not len(self.grown):
            return view
        children = self.grown.draw(n, self._seed("grown", step))
        pool = self.backgrounds.at(step)
        return join_rows([view, self.studio.photograph(children, pool, self._seed("look", step), self.config.reach)])

    def spawn(self, h: Float[Tensor, "b 63"], view: View, step: int) -> None:
        """Let the set grow by the children of a step's seeds, once the time has come.

        Args:
            h: What the network found in the view.
            view: Without children.
            step: In which it did.
        """
        if step + 1 < self.portion.children_from:
            return
        if self.config.augment_filter:
            keep = self.fits(h, view.targets)
            h, view = h[keep], take_rows(view, keep)
        if len(h):
            self.grown.add(self.studio.spawn(h, view, self._seed("children", step), self.config.augment_rotation))

    @torch.no_grad()
    def fits(self, h: Float[Tensor, "b 63"], targets: Targets) -> Int64[Tensor, " n"]:
        """The rows of seeds that lie within tau of the label in the picture, the test of Eq. 12."""
        error = joint_error_px(self.studio.model.forward_h(h).joints, targets)
        return (targets.known_2d.any(1) & (error < self.config.tau)).nonzero()[:, 0]

    def _seed(self, use: str, step: int) -> int:
        return seed_of(self.portion.seed, self.portion.rank, use, step)
