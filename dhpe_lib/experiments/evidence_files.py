"""The splits and the files of the measurement of the claims: what is there is read, and what is missing is found.

All variants share the evidence of the images. Each training, refinement and list of counts has a file of its own, so an
interrupted measurement continues.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from jaxtyping import Int64
from numpy import ndarray
from safetensors.torch import load_file
from torch import Tensor

from dhpe_lib.common.files import atomic_writes
from dhpe_lib.common.records import join_rows, take_rows
from dhpe_lib.data.cache.reader import Prepared
from dhpe_lib.data.crops import Crops
from dhpe_lib.data.targets import joint_error_px
from dhpe_lib.evaluation.scores import TAU
from dhpe_lib.experiments.cached_evidence import (
    CachedEvidence,
    first_rows,
    read_evidence,
    tested_evidence,
    training_evidence,
    write_evidence,
)
from dhpe_lib.experiments.distractors import distractor_pairs
from dhpe_lib.experiments.evidence_forms import (
    FEW,
    Form,
    facing_rows,
    seen_by,
    weakly_labelled,
    with_whole_masks,
)
from dhpe_lib.experiments.evidence_photos import labelled_photos
from dhpe_lib.experiments.evidence_refinement import estimate_of
from dhpe_lib.experiments.evidence_results import Run, run_from
from dhpe_lib.experiments.evidence_training import spread
from dhpe_lib.experiments.novel_view_evidence import novel_view_evidence
from dhpe_lib.network.estimator import Estimator
from dhpe_lib.network.trained import load_shipped
from dhpe_lib.training.batches import rows_of
from dhpe_lib.training.novel_views import VIEWS_PER_SEED

SEED, SEEDS = 0, 3
PAIR = ("undisturbed", "disturbed")
"""Names of the pictures of :func:`dhpe_lib.experiments.distractors.distractor_pairs`."""


class Workplace:
    """The splits and the files of a measurement.

    Args:
        out: Folder of the files.
        train, test: Folders of prepared splits.
        pictures, tests: Number of training images over all splits, and of images of each test split.
        pairs: Number of hands that are rendered without and with distractors.
        photos: Prepared split of photos whose labels a network found, or None.
        labelled: Folder of labelled photos, or None.
    """

    def __init__(
        self,
        out: Path,
        train: Sequence[Path],
        test: Sequence[Path],
        pictures: int,
        tests: int,
        pairs: int,
        photos: Path | None = None,
        labelled: Path | None = None,
    ) -> None:
        self.out, self.network, self.pairs = out, load_shipped(), pairs
        self.photo_crops: dict[str, Crops | Prepared] = {}
        if photos is not None:
            self.photo_crops["pseudo"] = Prepared(photos)
        if labelled is not None and labelled.is_dir():
            self.photo_crops["labelled"] = labelled_photos(labelled)
        self.train, self.tests = [Prepared(path) for path in train], [Prepared(path) for path in test]
        self.rows = first_rows(self.train, pictures)
        self.test_rows = {test.name: test.evenly_spaced(tests) for test in self.tests}

    def kept(self, name: str, find: Callable[[], CachedEvidence]) -> CachedEvidence:
        """Read evidence, or find it and write it."""
        path = self.out / f"{name}.safetensors"
        if not path.is_file():
            write_evidence(path, find())
            print(f"wrote {path.name}", flush=True)
        return read_evidence(path)

    def is_kept(self, name: str) -> bool:
        """Whether evidence is there."""
        return (self.out / f"{name}.safetensors").is_file()

    def kept_arrays(self, name: str, find: Callable[[], dict[str, ndarray]]) -> dict[str, ndarray]:
        """Read arrays, or find them and write them; "seconds" is the processor time that it took to find them."""
        path = self.file(name)
        if not path.is_file():
            path.parent.mkdir(exist_ok=True)
            begun, found = time.process_time(), find()
            spent = time.process_time() - begun
            with atomic_writes(path.parent, [path.name]) as (draft,):
                np.savez(draft, seconds=np.array(spent), **found)  # type: ignore[arg-type]
            print(f"wrote {path.name}, {spent:.0f} s of processor time", flush=True)
        return dict(np.load(path))

    def file(self, name: str) -> Path:
        """Path of a file with arrays."""
        return self.out / f"{name}.npz"

    @cached_property
    def tested(self) -> dict[str, CachedEvidence]:
        """Evidence of the tests by name."""
        found = {}
        for test in self.tests:
            find = partial(tested_evidence, self.network, test, self.test_rows[test.name])
            found[test.name] = self.kept(test.name, find)
        return found

    @cached_property
    def crops(self) -> dict[str, Crops]:
        """Crops of the tests by name."""
        return {test.name: test[self.test_rows[test.name]] for test in self.tests}

    @cached_property
    def paired(self) -> dict[str, tuple[CachedEvidence, Crops]]:
        """Evidence and crops of the hands without and with distractors."""
        found = {}
        for name, crops in zip(PAIR, distractor_pairs(self.pairs, SEED), strict=True):
            find = partial(tested_evidence, self.network, crops, np.arange(len(crops)))
            found[name] = self.kept(name, find), crops
        return found

    @cached_property
    def photos(self) -> dict[str, CachedEvidence]:
        """Evidence of the sets of photos that there are; the names are those of ``PHOTOS``."""
        found = {}
        for name, crops in self.photo_crops.items():
            find = partial(tested_evidence, self.network, crops, np.arange(len(crops)))
            found[name] = self.kept(f"photos_{name}", find)
        return found

    @cached_property
    def trained(self) -> CachedEvidence:
        """Evidence of the training images."""
        return join_rows([self.kept(f"train_{k}", find) for k, find in self.found_training(self.network)])

    def found_training(self, network: Estimator) -> Iterator[tuple[int, Callable[[], CachedEvidence]]]:
        """Yield the number of each split that has training images, and what finds their evidence with a network."""
        for k, (split, rows) in enumerate(zip(self.train, self.rows, strict=True)):
            if len(rows):
                yield k, partial(training_evidence, network, split, rows, k)

    @cached_property
    def trained_with_whole_masks(self) -> CachedEvidence:
        """Evidence of the training images with the masks of whole hands."""
        return with_whole_masks(self.trained, self.network.hand)

    def trained_for(self, form: Form) -> CachedEvidence:
        """Evidence of the training images as a variant sees them."""
        evidence = weakly_labelled(seen_by(form, self.trained_with_whole_masks if form.whole_masks else self.trained))
        return take_rows(evidence, self.few_rows(form)) if form.few_viewpoints else evidence

    @property
    def all_rows(self) -> ndarray:
        """Numbers of the training images in the concatenated splits."""
        starts = np.cumsum([0, *map(len, self.train)])[:-1]
        return np.concatenate([start + rows for start, rows in zip(starts, self.rows, strict=True)])

    def few_rows(self, form: Form) -> Int64[Tensor, " n"]:
        """Rows of the few training images of which a variant sees novel views."""
        if form.few_viewpoints:
            return facing_rows(self.trained.targets.joints, min(FEW, len(self.trained)))
        return spread(len(self.all_rows), FEW)

    def novel_views(self, form: Form) -> CachedEvidence:
        """Evidence of the novel views of a variant."""
        seeds, rows = form.novel_views, self.few_rows(form)
        assert seeds is not None

        def find() -> CachedEvidence:
            crops = rows_of(self.train, self.all_rows[rows.numpy()])
            return novel_view_evidence(self.network, crops, seeds, SEED)

        views = self.kept(f"novel_{seeds}{'_viewpoints' if form.few_viewpoints else ''}", find)
        if not form.near_seeds:
            return views
        some = take_rows(self.trained, rows)
        near = joint_error_px(estimate_of(self.network, some).joints, some.targets) < TAU
        return take_rows(views, near.repeat_interleave(VIEWS_PER_SEED).nonzero()[:, 0])

    def weights(self, name: str) -> list[dict[str, Tensor]]:
        """Read the weights of f_E3D of the seeds of a variant; none if a seed is missing."""
        there = all(self.weights_file(name, seed).is_file() for seed in range(SEEDS))
        return [self.seed_weights(name, seed) for seed in range(SEEDS)] if there else []

    def seed_weights(self, name: str, seed: int) -> dict[str, Tensor]:
        """Read the weights of f_E3D of a run."""
        return load_file(self.weights_file(name, seed))

    def weights_file(self, name: str, seed: int) -> Path:
        """Path of the weights of a run."""
        return self.out / "runs" / f"{name}_seed{seed}.safetensors"

    def load_runs(self, name: str) -> list[Run]:
        """Read the runs of a variant; none if a seed is missing."""
        paths = [self.file(f"runs/{name}_seed{seed}") for seed in range(SEEDS)]
        if not all(path.is_file() for path in paths):
            return []
        files = [dict(np.load(path)) for path in paths]
        return [run_from(values, json.loads(str(values.pop("curve")))) for values in files]
