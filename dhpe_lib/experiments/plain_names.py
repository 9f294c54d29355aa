"""Plain words for the short names of comparisons, and symbols that are typeset on a page and in a figure."""

import html
import re

WORDS = (
    (r"^(2D losses|L_J2D) of F, F\(x\) alone", r"\1 in the training of F, no 2D joints for f_E3D"),
    (r"^(2D losses|L_J2D) of F", r"\1 in the training of F, and 2D joints for f_E3D"),
    (r"^L_Feat of F", "L_Feat in the training of F"),
    (r"^training of F without 2D losses", "training of F by L_Art and L_Lap"),
    (r"^2D losses(?! in)", "2D joints instead of F(x) alone"),
    (r"^iterations (\d+ to \d+)", r"refinement, iterations \1"),
    (r"j2D\(0\) fixed", "fixed joints of f_J2D"),
    (r"j2D\(3\) fixed", "fixed joints of the regressor"),
    (r"j2D by f_Ref", "joints moved by f_Ref"),
    (r"^j2D\(3\) against j2D\(0\)", "refinement, joints of the regressor instead of those of f_J2D"),
    (r"^moving against fixed j2D", "refinement, joints moved by f_Ref instead of fixed ones"),
    (r"^fit without a network instead of refinement", "fit with priors instead of 50 steps of refinement"),
    (r"^fit without a network", "fit with priors"),
    (r"^instead of the hand landmark network, (A8?|B|C)\b", r"the measured network instead of MediaPipe's, \1"),
    (r"^shipped network refined", "refinement of the measured network"),
    (r"^feature term of weight (.*?), fixed", r"refinement, feature term of weight \1, fixed"),
    (r"shape loss of a quarter", "shape loss of every fourth image"),
    (r"^L_h\b", "labels of pose and shape (L_h)"),
    (r"^lambda, sum", "lambda of Eq. 12 instead of 0.01, L_Sh as a sum"),
    (r"^lambda, mean", "lambda of Eq. 12 instead of 0.01, L_Sh as 10 times a mean"),
    (r"^lambda, weight (\d+)", r"lambda of Eq. 12 instead of 0.01, L_Sh as \1 times a mean"),
    (r"^three iterations of the regressor", "three iterations of the regressor instead of one"),
    (r"^five iterations of the regressor", "five iterations of the regressor instead of three"),
    (r"^mask against", "mask of the mesh instead of"),
    (r"^mask of \*full\* against", "mask of the mesh of the full variant instead of"),
    (r"^distractors against", "loss of IoU by distractors, the mesh instead of"),
    (r"labelled photos$", "photos labelled by hand"),
    (r"photos with labels of a network$", "photos labelled by a network"),
    (r"^shapes of children within", "shapes of the novel views within"),
    (r"with near seeds", "of source hands within tau"),
    (r"under tau$", "images under tau"),
    (r"course$", "mean error over the training"),
    (r"(aligned|pose), (ORH\S*)$", r"\2, \1"),
)
"""Patterns of the names in ``evidence.json`` and the words instead of them, in this order."""

GREEK = {"lambda": "λ", "Lambda": "λ", "tau": "τ"}


def plain_name(comparison: str) -> str:
    """Return the name of a comparison in plain words."""
    for pattern, words in WORDS:
        comparison = re.sub(pattern, words, comparison)
    return comparison


def in_markdown(text: str) -> str:
    """Typeset the symbols of a text for Markdown, such as f_Ref, j2D(3) and lambda."""
    text = re.sub(r"\bL_h\b", "$L_h$", text)
    text = re.sub(r"\b([fL])_([A-Z0-9]\w*)", r"$\1_\\text{\2}$", text)
    text = re.sub(r"\bj2D(\(\d\))?", r"$j_{2D}\1$", text)
    text = re.sub(r"\bF\b(\(x\))?", r"$F\1$", text)
    return re.sub(r"\b(lambda|Lambda|tau)\b", lambda found: f"$\\{found[1].lower()}$", text)


def in_html(text: str) -> str:
    """Typeset a text for HTML and for figures: its symbols, and Markdown's emphasis and code."""
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))
    text = re.sub(r"\*(\w[^*]*)\*", r"<em>\1</em>", text)
    text = re.sub(r"\b([fL])_([A-Za-z0-9]+)", r"<i>\1</i><sub>\2</sub>", text)
    text = re.sub(r"\bj2D", "<i>j</i><sub>2D</sub>", text)
    text = re.sub(r"\bF\b", "<i>F</i>", text)
    return re.sub(r"\b(lambda|Lambda|tau)\b", lambda found: GREEK[found[1]], text)
