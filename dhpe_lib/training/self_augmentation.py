"""Self-supervised augmentation (Sec. 3.5): each training image becomes three novel views with exact labels.

:mod:`dhpe_lib.training.novel_views` samples and renders the novel views.

The growing set does not store images. It stores the inputs of the renderer: h, a colour for each vertex, and the light.
They take less than 2 % of the memory of an image with its labels. A bounded set can therefore hold the novel views of
many steps and fits into checkpoints. A novel view has a new background, crop and tint each time it is rendered. Nothing
here has a gradient. The chapter is *Self-supervised augmentation*.
"""

from collections.abc import Mapping
from dataclasses import fields

import torch
from jaxtyping import Float, Int64
from lightning_fabric import Fabric
from torch import Tensor

from dhpe_lib.common.devices import to_device
from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.targets import Targets, joint_error_px
from dhpe_lib.data.views import View
from dhpe_lib.hand.model import HandModel
from dhpe_lib.synthetic.sampling import seed_of
from dhpe_lib.training.batches import Backgrounds, BatchPlan, ViewOptions
from dhpe_lib.training.config import TrainingConfig
from dhpe_lib.training.novel_views import LIGHT_TERMS, NovelViewRenderer, NovelViews


class GrowingSet:
    """Ring buffer of the novel views of all mini-batches.

    When it is full, the oldest views are overwritten, since later seeds come from a better network.

    Args:
        capacity: Largest number of novel views.
        vertices: Number of vertices of the mesh.
        device: Device of the buffer.
    """

    def __init__(self, capacity: int, vertices: int, device: torch.device) -> None:
        self.count = 0
        self.rows = NovelViews(
            torch.zeros(capacity, 63, device=device),
            torch.zeros(capacity, vertices, 3, dtype=torch.uint8, device=device),
            torch.zeros(capacity, LIGHT_TERMS, 3, device=device),
        )

    def __len__(self) -> int:
        return min(self.count, len(self.rows))

    @property
    def bytes(self) -> int:
        """Size of the buffer in bytes, whether full or empty."""
        return sum(value.numel() * value.element_size() for value in vars(self.rows).values())

    def add(self, novel_views: NovelViews) -> None:
        """Append novel views in order."""
        kept = min(len(novel_views), len(self.rows))
        slots = torch.arange(self.count + len(novel_views) - kept, self.count + len(novel_views)) % len(self.rows)
        slots = to_device(slots, self.rows.h.device)
        for field in fields(NovelViews):
            getattr(self.rows, field.name)[slots] = getattr(novel_views, field.name)[len(novel_views) - kept :]
        self.count += len(novel_views)

    def draw(self, n: int, seed: int) -> NovelViews:
        """Draw n novel views uniformly, with replacement.

        Raises:
            ValueError: The set is empty.
        """
        if not len(self):
            raise ValueError("the growing set is empty; call add first")
        rows = torch.randint(len(self), (n,), generator=torch.Generator().manual_seed(seed))
        return take_rows(self.rows, to_device(rows, self.rows.h.device))

    def state(self) -> dict[str, Tensor]:
        """Return the whole buffer as tensors, for a checkpoint."""
        return vars(self.rows) | {"count": torch.tensor(self.count, device=self.rows.h.device)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Load the result of :meth:`state`, or only its first rows if the buffer was not full."""
        self.count = int(state["count"])
        for field in fields(NovelViews):
            saved = state[field.name]
            getattr(self.rows, field.name)[: len(saved)] = saved.to(self.rows.h.device)


class SelfAugmentation:
    """Self-augmentation of one process: call ``add_views`` after a step and ``extend`` before the next.

    Novel views are not used as seeds, since their skin is already a copy.

    Args:
        model: The network's hand model, on the device of the training.
        config: Its fields `augment_...` and tau are used.
        plan: The batch plan of the process.
        views: Options of the views.
        backgrounds: Backgrounds of the novel views.
    """

    def __init__(
        self,
        model: HandModel,
        config: TrainingConfig,
        plan: BatchPlan,
        backgrounds: Backgrounds,
        views: ViewOptions,
    ) -> None:
        self.view_renderer = NovelViewRenderer.of(model)
        self.config, self.plan, self.backgrounds, self.views = config, plan, backgrounds, views
        self.grown = GrowingSet(config.augment_capacity, len(model.v_template), model.v_template.device)

    def extend(self, view: View, step: int) -> View:
        """Append the novel views that the plan has in a step; none while the growing set is empty."""
        n = self.plan.novel_views_at(step)
        if not n or not len(self.grown):
            return view
        novel_views = self.grown.draw(n, self._seed("grown", step))
        pool, seed = self.backgrounds.at(step), self._seed("look", step)
        views = self.views
        rendered = self.view_renderer.render_views(novel_views, pool, seed, views.jitter, views.size, views.upright)
        return join_rows([view, rendered])

    def add_views(self, h: Float[Tensor, "b 63"], view: View, step: int) -> None:
        """Add the novel views of the seeds of a step; does nothing before the planned first step.

        Args:
            h: The network's estimate for each image of the view.
            view: Images without novel views.
            step: Number of the step.
        """
        if step + 1 < self.plan.novel_views_from:
            return
        if self.config.augment_filter:
            keep = self.fits(h, view.targets)
            h, view = h[keep], take_rows(view, keep)
        if len(h):
            seed = self._seed("children", step)
            self.grown.add(self.view_renderer.lift_views(h, view, seed, self.config.augment_rotation))

    @torch.no_grad()
    def fits(self, h: Float[Tensor, "b 63"], targets: Targets) -> Int64[Tensor, " n"]:
        """Return the rows of the seeds whose 2D error is below tau, the test of Eq. 12."""
        error = joint_error_px(self.view_renderer.model.forward_h(h).joints, targets)
        return (targets.known_2d.any(1) & (error < self.config.tau)).nonzero()[:, 0]

    def _seed(self, use: str, step: int) -> int:
        return seed_of(self.plan.seed, self.plan.rank, use, step)


def gather_growing_sets(augmentation: SelfAugmentation | None, fabric: Fabric) -> dict[str, Tensor]:
    """Gather the growing sets of all processes for a checkpoint, without empty rows; all processes must call this."""
    if augmentation is None:
        return {}
    state = augmentation.grown.state()
    if fabric.world_size > 1:
        sets = {name: torch.as_tensor(fabric.all_gather(values)) for name, values in state.items()}
    else:
        sets = {name: values[None] for name, values in state.items()}
    filled = int(sets["count"].max())
    return {name: values if name == "count" else values[:, :filled] for name, values in sets.items()}


def load_growing_set(augmentation: SelfAugmentation, sets: Mapping[str, Tensor], rank: int) -> None:
    """Load this process's growing set from the sets of a checkpoint.

    Args:
        augmentation: Its growing set is changed in place.
        sets: From :func:`gather_growing_sets`, one row for each process of the saved run.
        rank: Number of this process. With more processes than rows the rows are used again.
    """
    row = rank % len(sets["count"])
    augmentation.grown.load({name: values[row] for name, values in sets.items()})
