"""Published results of other methods, for comparison; none of them was measured here.

Papers differ in protocol (joint 0, given scale, range of the AUC), and several values come from later papers, so the
third digit means little.
"""

from dhpe_lib.evaluation.mask_metrics import MaskScores

# Nominal range of each AUC below, a key of metrics.THRESHOLDS. Zimmermann and Brox's true range is 21.05 to 50 mm.
AUC_RANGES = {"RHD": "20-50", "STB": "20-50", "DO": "0-100"}

# Area under the 3D PCK curve. Source: Fig. 5, the papers named, and tables of later papers.
PUBLISHED_AUC = {
    "RHD": {
        "Baek et al. 2019": 0.926,
        "Cai et al. 2018": 0.887,
        "Spurr et al. 2018": 0.849,
        "Zimmermann & Brox 2017": 0.675,
        "best known": 0.964,
    },
    "STB": {
        "Baek et al. 2019": 0.995,
        "Cai et al. 2018": 0.994,
        "Iqbal et al. 2018": 0.994,
        "Spurr et al. 2018": 0.983,
        "Mueller et al. 2018": 0.965,
        "Zimmermann & Brox 2017": 0.948,
        "Panteleris et al. 2018": 0.941,
        "CHPR": 0.839,
        "ICPPSO": 0.748,
        "PSO": 0.709,
        "best known": 0.998,
    },
    "DO": {
        "Iqbal et al. 2018": 0.71,
        "Baek et al. 2019": 0.65,
        "Iqbal et al. 2018, no real 2D data": 0.565,
        "Mueller et al. 2018": 0.56,
        "best known": 0.863,
    },
}

# Masks on RHD, pooled over the dataset. Source: Table 2.
PUBLISHED_MASKS = {
    "Baek et al. 2019": MaskScores(iou=0.6513, precision=0.8282, recall=0.7531, f1=0.7888),
    "Khan & Borji 2018": MaskScores(iou=0.5268, precision=0.7165, recall=0.6655, f1=0.6900),
    "Zimmermann & Brox 2017": MaskScores(iou=0.3540, precision=0.3652, recall=0.9206, f1=0.5229),
}
