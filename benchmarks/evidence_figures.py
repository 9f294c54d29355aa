"""Draw the figures and the table of the paper from `book/results/evidence.json` and `evidence_pictures.json` alone.

    python benchmarks/evidence_figures.py OUT [--figure 4 5a 5b 5c 5d 5e 5e-iterations 5f 5f-half-open 6 table-2]

Writes an HTML page with a title for each: `figure_5a.html` and so on.
"""

import argparse
from pathlib import Path

from dhpe_lib.experiments.evidence_figures import HEAD, figures, mask_rows
from dhpe_lib.experiments.evidence_pictures import hand_pictures, mask_pictures
from dhpe_lib.experiments.plain_names import in_html
from dhpe_lib.figures.chapters import read_result
from dhpe_lib.figures.html_records import titled_page
from dhpe_lib.hand.model import HandModel

TABLE = "table-2"
TITLES = {
    "4": "Figure 4: masks (green: right, red: missing, yellow: wrong)",
    "5a": "Figure 5a: PCK with and without the shape loss on ORH, which stands for RHD",
    "5b": "Figure 5b: PCK with and without the shape loss on ORH-O, which stands for Dexter+Object",
    "5c": "Figure 5c: PCK with and without the shape loss on ORH-S, which stands for STB",
    "5d": "Figure 5d: PCK of the variants on ORH",
    "5e": "Figure 5e: PCK of the variants on the fingertips of ORH-O",
    "5e-iterations": "Figure 5e: the gain of the refinement over its iterations on ORH-O",
    "5f": "Figure 5f: the training with five shape losses",
    "5f-half-open": "Figure 5f: the training with five shape losses from half-open gates",
    "6": "Figure 6: hands with and without the shape loss, before and after refinement",
    TABLE: "Table 2: masks, in percent",
}


def html_of(name: str) -> str:
    """Return a figure or the table as HTML, without its title."""
    if name == "4":
        return mask_pictures(read_result("evidence_pictures")["results"]["masks"]).html
    if name == "6":
        return hand_pictures(read_result("evidence_pictures")["results"]["hands"], HandModel.open_hand()).html
    result = read_result("evidence")["results"]
    if name == TABLE:
        lines = ("".join(f"<td>{in_html(cell)}</td>" for cell in line) for line in (HEAD, *mask_rows(result)))
        return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
    return figures(result)[name].to_html(include_plotlyjs=True, full_html=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--figure", choices=TITLES, nargs="+", default=list(TITLES))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name in arguments.figure:
        path = arguments.out / f"{name if name == TABLE else f'figure_{name}'}.html"
        path.write_text(titled_page(TITLES[name], html_of(name)), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
