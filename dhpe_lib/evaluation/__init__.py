"""Compare estimates with the ground truth: errors, PCK and AUC (Fig. 5), protocols A to C, mask scores (Table 2)."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "metrics": ["THRESHOLDS", "auc", "bootstrap", "f_scores", "joint_errors", "mean_epe", "median_epe", "pck"],
        "alignment": ["align_palm_and_bone", "align_scale_translation", "align_similarity", "mesh_errors"],
        "mask_metrics": ["mask_counts", "mask_scores"],
        "evaluate": ["Predictions"],
        "scores": ["full_scores", "quick_scores"],
        "plots": ["areas_figure", "curves_figure", "pck_curves_figure", "pck_figure"],
        "reports": ["write_report"],
        "freihand": ["read_freihand", "score_freihand", "write_freihand"],
        "paper_sets": ["PAPER_SETS", "area_rows", "choose_hands", "result_curve"],
        "published": ["PUBLISHED_AUC", "PUBLISHED_MASKS"],
    },
)
