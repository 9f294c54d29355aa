"""Facts that were measured beside each claim of ``evidence.json`` and bear on its verdict, in words with numbers.

Nothing here judges; :mod:`dhpe_lib.experiments.claims` does.
"""

from collections.abc import Callable, Mapping
from typing import Any

from dhpe_lib.experiments.claims import gain_text
from dhpe_lib.experiments.evidence_results import NAMES

TESTS = ("orh_test", "orh-o_test")
FIRST_LAST = tuple(NAMES[test] for test in TESTS)


def reasons(result: Mapping[str, Any]) -> dict[str, str]:
    """Return the facts for each claim by its name; a claim whose facts were not measured is left out."""
    facts: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "refinement-differs": calls_of_refiner,
        "refinement-differs-kept": goal_of_refinement,
        "refinement-same": calls_of_refiner,
        "refinement-same-kept": goal_of_refinement,
        "moving-evidence": moved_evidence,
        "iterations": moved_evidence,
        "iterations-kept": fixed_iterations,
        "feature-term": sizes_of_feature_term,
        "feature-term-exact": exact_feature_term,
        "refiner": worth_of_refiner,
        "refiner-erased": worth_of_erased_joints,
        "2d-losses-trained": trunks_with_2d_losses,
        "2d-losses": joints_behind,
        "shape-loss": other_shape_losses,
        "augmentation": other_augmentations,
        "augmentation-viewpoints": few_viewpoints,
        "lambda": lambda_as_mean,
        "lambda-half-open": half_open_gates,
        "masks": budget_of_masks,
        "distractors": masks_with_distractors,
    }
    found = {}
    for name, fact in facts.items():
        try:
            found[name] = fact(result)
        except KeyError:  # this row is not in the result file
            continue
    return found


def score(result: Mapping[str, Any], form: str, test: str, name: str) -> float:
    """Mean over the seeds of a score of a variant."""
    return result["forms"][form]["tests"][test][name]["mean"]


def by_test(result: Mapping[str, Any], text: str, *names: str) -> str:
    """Fill a text with scores of the variant *full*, once for each test."""
    parts = (text.format(*(score(result, "full", test, name) for name in names)) for test in TESTS)
    return "; ".join(f"{NAMES[test]}: {part}" for test, part in zip(TESTS, parts, strict=True))


def measured(result: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """List gains by label, as far as they were measured; each begins with a semicolon."""
    gains = result["comparisons"]
    return "".join(f"; {label} {gain_text(gains[name])}" for name, label in names.items() if name in gains)


def on_photos(result: Mapping[str, Any], part: str) -> str:
    """Gain of a part in the image on photos, as far as it was measured."""
    return measured(
        result,
        {
            f"{part}, photos with labels of a network": "photos with labels of a network",
            f"{part}, labelled photos": "labelled photos",
        },
    )


def goal_of_refinement(result: Mapping[str, Any]) -> str:
    """Compare the skeleton with the j2D that the refinement follows; the gain from a weak start if it was measured."""
    text = by_test(result, "error of the skeleton {:.1f} px, of j2D(0) {:.1f} px", "mesh_px", "j2d_first_px")
    names = {f"refinement of a weak start, j2D(3) fixed, {name}": f"from a weak start, {name}" for name in FIRST_LAST}
    return text + measured(result, names)


def calls_of_refiner(result: Mapping[str, Any]) -> str:
    """Compare j2D before and after the three calls of f_Ref."""
    text = "error of j2D {:.1f} px before the three calls of f_Ref, {:.1f} px after them"
    return by_test(result, text, "j2d_first_px", "j2d_last_px")


def worth_of_refiner(result: Mapping[str, Any]) -> str:
    """Compare j2D before and after the three calls; the gain of f_Ref from few images and on photos."""
    others = {
        "f_Ref, few images, ORH": "from few images, ORH",
        "f_Ref with L_Ref as a distance, ORH": "with L_Ref as a distance, ORH",
        "f_Ref that sees h(t+1), not h(t), ORH": "h(t+1) as its input instead of h(t), ORH",
    }
    return calls_of_refiner(result) + measured(result, others) + on_photos(result, "f_Ref")


def worth_of_erased_joints(result: Mapping[str, Any]) -> str:
    """Compare j2D before and after the three calls of f_Ref that was trained with wrong joints."""
    first, last = (score(result, "erased-joints", "orh-o_test", name) for name in ("j2d_first_px", "j2d_last_px"))
    text = f"ORH-O: error of j2D {first:.1f} px before the three calls of f_Ref, {last:.1f} px after them"
    kinds = ("erased", "shifted")
    names = {f"{kind} joints in training, {test}": f"{kind} joints, {test}" for kind in kinds for test in FIRST_LAST}
    return text + measured(result, names)


def pull_of_feature_term(row: Mapping[str, float], exact: bool = False) -> float:
    """Length of the feature term's gradient, of the paper's silhouette or the exact one, over that of the joints."""
    return row[f"gradient_feature{'_exact' if exact else ''}"] / row["gradient_joints"]


def sizes_of_feature_term(result: Mapping[str, Any]) -> str:
    """Compare the gradients of the terms of Eq. 13, and the term of the mesh with that of a mesh of twice the size."""
    parts = []
    for test, row in result["feature_term"].items():
        times = pull_of_feature_term(row)
        values = f"value {row['value']:.3f}, for a mesh of twice the size {row['value_twice']:.3f}"
        parts.append(f"{NAMES[test]}: gradient {times:.0f} times that of the joints, {values}")
    forms = {"0.01": "with weight 0.01", "1 of the same size": "without gradient to size and shape"}
    names = {
        f"feature term of weight {form}, j2D(3) fixed, {test}": f"{label}, {test}"
        for form, label in forms.items()
        for test in FIRST_LAST
    }
    return "; ".join(parts) + measured(result, names)


def exact_feature_term(result: Mapping[str, Any]) -> str:
    """Compare the exact gradient of the feature term with that of the joints; the gain of all terms and with f_Ref."""
    parts = [
        f"{NAMES[test]}: gradient {pull_of_feature_term(row, exact=True):.1f} times that of the joints"
        for test, row in result["feature_term"].items()
    ]
    term, refined = "feature term of weight", "shipped network refined, feature weight"
    names = {
        f"{refined} 1 with the exact gradient, j2D(3) fixed": "all terms",
        f"{term} 0.01 with the exact gradient, j2D(3) fixed": "with weight 0.01",
        f"{term} 1 with the exact gradient, j2D by f_Ref": "with j2D that f_Ref moves",
    }
    rows = {f"{name}, {test}": f"{label}, {test}" for name, label in names.items() for test in FIRST_LAST}
    return "; ".join(parts) + measured(result, rows)


def moved_evidence(result: Mapping[str, Any]) -> str:
    """Say where j2D is after the 50 calls of f_Ref, and why."""
    parts = [
        f"{NAMES[test]}: error of j2D {rows['0']:.1f} px at first, {rows['50']:.1f} px after 50 calls"
        for test, rows in result["moved_j2d_px"].items()
    ]
    if "f_ref_eigenvalue" in result:
        seeds = result["f_ref_eigenvalue"]["full"]
        parts.append(f"largest eigenvalue of f_Ref {min(seeds):.2f} to {max(seeds):.2f}")
    return "; ".join(parts) + measured(result, {f"j2D(3) against j2D(0), {name}": f"j2D(3) against j2D(0), {name}"
                                                for name in FIRST_LAST})  # fmt: skip


def fixed_iterations(result: Mapping[str, Any]) -> str:
    """Gain of the last iterations with j2D(0) fixed, of twice as many, and of a fit instead of the refinement."""
    last = gain_text(result["comparisons"]["iterations 20 to 50, j2D(0) fixed, ORH-O"])
    others = {"iterations 50 to 100, j2D(3) fixed, ORH-O": "with j2D(3) fixed, 50 to 100"}
    others |= {
        f"fit without a network instead of refinement, {test}": f"a fit instead of the refinement, {test}"
        for test in FIRST_LAST
    }
    return f"with j2D(0) fixed, 20 to 50 {last}" + measured(result, others)


def trunks_with_2d_losses(result: Mapping[str, Any]) -> str:
    """Say what each part of the 2D losses does to F, and what a training without them brings."""
    budget = result["setting"]["trunks"]
    first, last = (
        score(result, form, "orh_test", "epe_a_mm") for form in ("trunk-without-2d", "trunk-with-2d-and-joints")
    )
    text = f"ORH: {first:.1f} mm without, {last:.1f} mm with them; F learnt from {budget['images_seen']:,} images"
    names = {
        "2D losses of F, F(x) alone": "if f_E3D does not see 2D joints",
        "L_J2D of F": "L_J2D alone",
        "L_Feat of F": "L_Feat beside L_J2D",
        "training of F without 2D losses": "training of F without 2D losses against its start",
    }
    return text + measured(result, {f"{part}, ORH": f"{label}, ORH" for part, label in names.items()})


def joints_behind(result: Mapping[str, Any]) -> str:
    """Say how well each variant places the skeleton in the image."""
    with_it, without = (score(result, form, "orh_test", "mesh_px") for form in ("without-refiner", "without-2d-losses"))
    text = f"ORH: error of the skeleton {with_it:.1f} px with j2D, {without:.1f} px from F(x) alone"
    few = measured(result, {"2D losses, few images, ORH": "from few images, ORH"})
    return f"{text}; F learnt from L_J2D in both{few}{on_photos(result, '2D losses')}"


def other_shape_losses(result: Mapping[str, Any]) -> str:
    """Say what the shape loss does to the mask, and what it gains in other forms, as far as they were measured."""
    near = result["comparisons"]["shape loss, under tau"]["with"]
    masks = (score(result, form, "orh_test", "mask_iou") for form in ("without-shape-loss", "shape-loss-of-all"))
    text = f"{100 * near:.0f} % of the images are within tau; mask IoU {' to '.join(f'{iou:.3f}' for iou in masks)}"
    forms = {
        "a quarter of the images": "shape loss of a quarter",
        "and weight 1": "shape loss with weight 1",
        "and the exact silhouette": "shape loss with the exact silhouette",
        "and masks of whole hands": "shape loss with masks of whole hands",
    }
    gains = {label: result["comparisons"].get(f"{part}, ORH") for label, part in forms.items()}
    parts = [f"{label} {gain_text(one)}" for label, one in gains.items() if one]
    text = f"{text}; ORH: {', '.join(parts)}" if parts else text
    others = {
        "shape loss of a quarter, few images, ORH": "a quarter of few images, ORH",
        "shape loss of a quarter, few images, ORH-O": "a quarter of few images, ORH-O",
        "shape loss with weight 1, photos with labels of a network": "weight 1, photos with labels of a network",
    }
    return text + measured(result, others) + on_photos(result, "shape loss")


def other_augmentations(result: Mapping[str, Any]) -> str:
    """Say how much more real images bring than few, and what novel views of true poses gain if that was measured."""
    few, every = (score(result, form, "orh_test", "epe_a_mm") for form in ("few", "full"))
    text = f"ORH: {few:.1f} mm from {result['setting']['few']} images and {every:.1f} mm from all"
    name = "augmentation with true poses, few images, ORH"
    if name in result["comparisons"]:
        text += f"; novel views of true poses gain {gain_text(result['comparisons'][name])}"
    text += measured(result, {"augmentation, equal real images, ORH": "with equally many real images in a batch"})
    if "novel_views_told_apart" in result:
        told = result["novel_views_told_apart"]
        text += f"; by F(x) a linear classifier tells {100 * told['accuracy']:.0f} % of novel views and images apart"
    others = {
        "augmentation, few images, ORH-S": "few images, ORH-S",
        "augmentation, all images, ORH": "instead of half of all real images, ORH",
        "augmentation, all images, ORH-O": "instead of half of all real images, ORH-O",
        "augmentation with smaller shapes, few images, ORH": "with shapes within 1.5 deviations",
        "augmentation with near seeds, few images, ORH": "of source hands within tau alone",
    }
    return text + measured(result, others) + on_photos(result, "augmentation, few images")


def few_viewpoints(result: Mapping[str, Any]) -> str:
    """Say what few viewpoints cost, and the gain with equally many real images."""
    few, from_all = (score(result, form, "orh_test", "epe_a_mm") for form in ("few-viewpoints", "few"))
    text = f"ORH: {few:.1f} mm from {result['setting']['few']} images of few viewpoints, {from_all:.1f} mm of all"
    name = "augmentation, few viewpoints, equal real images, ORH"
    return text + measured(result, {name: "with equally many real images in a batch"})


def half_open_gates(result: Mapping[str, Any]) -> str:
    """Share within tau at the start, errors with either lambda as a sum, and the gain with weight 50."""
    near = [curve[-1]["share_under_tau"] for curve in result["forms"]["half-open"]["curves"]]
    forms = {"0.01": "half-open-constant-as-sum", "Eq. 12": "half-open-as-sum"}
    forms["no shape loss"] = "half-open-without-shape-loss"
    errors = (f"{label} {score(result, form, 'orh_test', 'epe_a_mm'):.1f} mm" for label, form in forms.items())
    text = f"{100 * sum(near) / len(near):.0f} % of the images within tau at the start; ORH: {', '.join(errors)}"
    weights = {
        f"lambda, weight {weight}, half-open gates, ORH": f"with {weight} times a mean" for weight in (1, 50, 500)
    }
    return text + measured(result, weights)


def lambda_as_mean(result: Mapping[str, Any]) -> str:
    """Errors with either lambda as a sum, and without a shape loss; the gain with a mean if that was measured."""
    forms = {"0.01": "constant-lambda-as-sum", "Eq. 12": "shape-loss-as-sum", "no shape loss": "without-shape-loss"}
    parts = (f"{label} {score(result, form, 'orh_test', 'epe_a_mm'):.1f} mm" for label, form in forms.items())
    text = f"ORH: {', '.join(parts)}"
    mean = result["comparisons"].get("lambda, mean, ORH")
    text = f"{text}; with 10 times a mean as L_Sh {gain_text(mean)}" if mean else text
    return text + measured(result, {f"lambda, weight {weight}, ORH": f"with {weight} times" for weight in (50, 500)})


def budget_of_masks(result: Mapping[str, Any]) -> str:
    """Say how long the segmentation networks learnt, and how good a mesh's mask can be at most."""
    budget, parts = result["setting"]["segmentation"], []
    for test in ("ORH", "ORH-S"):
        rows = result["masks"][test]
        own, best = (rows[name]["iou"] for name in ("mesh of the variant *full*", "mesh of the true hand"))
        parts.append(f"{test} mesh of *full* {own:.3f}, mesh of the true hand {best:.3f}")
    among = gain_text(result["comparisons"]["mask against the U-Net, distractors"])
    seen = f"each network saw {budget['images_seen']:,} images in each of {budget['seeds']} trainings"
    return f"{seen}; IoU: {'; '.join(parts)}; gain over the U-Net with distractors {among}"


def masks_with_distractors(result: Mapping[str, Any]) -> str:
    """IoU of each kind of mask without and with distractors."""
    before, after = (result["masks"][name] for name in ("no distractors", "distractors"))
    parts = (f"{who} {before[who]['iou']:.3f} to {after[who]['iou']:.3f}" for who in before if who in after)
    return f"IoU: {', '.join(parts)}"
