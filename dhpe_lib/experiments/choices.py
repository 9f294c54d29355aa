"""Choices where the paper is silent or ambiguous: what this project does, what else could be meant, and the place.

The tests compare the list with the code, so that a choice that changes does not stay in the book.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from dhpe_lib.experiments.plain_names import in_html
from dhpe_lib.figures.html_records import Html


@dataclass(frozen=True)
class Choice:
    """One choice.

    Attributes:
        question: Question that the paper leaves open.
        here: The project's answer.
        other: Another reading, and how to get it if an option exists.
        where: Dotted name of the module or object that makes the choice.
    """

    question: str
    here: str
    other: str
    where: str


CHOICES = (
    Choice(
        "an all-zero h(0) has no rotation and no size",
        "h holds offsets from the identity camera: rotation (1, 0, 0, 0) + c_q, scale 1 + c_s",
        "a start that was learnt",
        "dhpe_lib.hand.parameters.split_h",
    ),
    Choice(
        "place of the crop",
        "a square of side g around the middle finger's knuckle",
        "the box's centre",
        "dhpe_lib.data.cropping.hand_frame",
    ),
    Choice(
        "meaning of joint 0, which the paper calls palm",
        "the wrist; STB's palm counts in no loss, and protocol B turns wrists into palms",
        "the palm everywhere",
        "dhpe_lib.data.views.wrist_targets",
    ),
    Choice(
        "norms of Eqs. 2 and 9",
        "means over features and pixels, times a weight",
        "sums: --set weight_feat=2048 and weight_sh=50176",
        "dhpe_lib.training.losses.LossOptions",
    ),
    Choice(
        "unit of tau, 15 pixels",
        "mean distance of the joints in the crop of 224 pixels",
        "the sum of squared distances as written: literal_tau",
        "dhpe_lib.training.losses.shape_gate",
    ),
    Choice(
        "the Laplacian of L_Lap",
        "cotangent weights; lengths are compared with the template's",
        "uniform weights, or plain smoothness, which makes hands small",
        "dhpe_lib.hand.laplacian.Laplacian",
    ),
    Choice(
        "losses that the variant without 2D losses lacks, beside the paper's L_Feat and L_J2D",
        "L_Ref, too: L_J2D, L_Ref and L_Feat; f_J2D and f_Ref are removed",
        "f_J2D and f_Ref stay, trained by L_Ref and L_Art alone",
        "dhpe_lib.training.config.ABLATIONS",
    ),
    Choice(
        "the h and v that f_Ref sees",
        "h(t+1) and v(t+1), after the step of f_J3D",
        "h(t) and v(t)",
        "dhpe_lib.network.regressor.Regressor",
    ),
    Choice(
        "argmax of a heat map",
        "between the cells, by a parabola",
        "the cell's centre: sub_pixel=False",
        "dhpe_lib.network.heatmaps.heatmap_joints",
    ),
    Choice(
        "j2D in Eq. 13",
        "f_Ref mends it in each of the 50 steps",
        "it stays as the regressor left it: evidence-fixed",
        "dhpe_lib.refinement.test_time.REFINEMENTS",
    ),
    Choice(
        "lambda of Eq. 13, where no truth is known",
        "1 for a hand within 15 pixels of j2D",
        "always 1",
        "dhpe_lib.refinement.energy.energy_terms",
    ),
    Choice(
        "the iterate that is given out",
        "the one of least energy, an open gate first",
        "the last: Refinement.path[-1]",
        "dhpe_lib.refinement.test_time.Refinement",
    ),
    Choice(
        "three standard deviations of a shape",
        "uniform from -3 to 3",
        "a range of three, from -1.5 to 1.5",
        "dhpe_lib.training.novel_views.SHAPE_RANGE",
    ),
    Choice(
        "start of the augmentation, and its share of a batch",
        "after 20 epochs, at half of the steps at the latest; half of a batch from then on",
        "the training set grows without bound",
        "dhpe_lib.training.config.TrainingConfig",
    ),
    Choice(
        "the texture of f_TRen",
        "the picture of the source hand on the visible part of its mesh; the rest is completed smoothly",
        "a texture that was learnt",
        "dhpe_lib.rendering.texture_from_photo.lift_texture",
    ),
    Choice(
        "epochs, batch, decay of Adam's rate",
        "100,000 steps of 128 images, warm-up and a cosine in the script for GPUs",
        "unknown: the supplement was not found",
        "dhpe_lib.training.config.PAPER",
    ),
    Choice(
        "instances of Fig. 5f",
        "dhpe ablate: the test hands; evidence.json: training hands, as in the paper",
        "the training hands everywhere; the log has them",
        "dhpe_lib.experiments.ablation_figures.PANELS",
    ),
)
"""In the order of the method."""


def choices_list(choices: Sequence[Choice] = CHOICES) -> Html:
    """Return choices as a list of questions, each with the answer here, another reading, and its place in the code."""
    parts = (
        f"<dt>{in_html(one.question)}</dt><dd>{in_html(one.here)}. <em>Also possible:</em> {in_html(one.other)}. "
        f"<em>In the code:</em> <code>{one.where.removeprefix('dhpe_lib.')}</code>.</dd>"
        for one in choices
    )
    return Html(f"<dl>{''.join(parts)}</dl>")
