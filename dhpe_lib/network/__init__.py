"""The trained parts: F and f_J2D (Eqs. 2 and 3), f_J3D and f_Ref (Eqs. 4 to 6), f_DHPE (Eq. 1)."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "hand_landmarks": ["load_hand_landmarks"],
        "palm_detector": ["load_palm_detector"],
        "evidence": ["Evidence2D", "FeatureNet", "PoseMachine", "find_joints"],
        "hand_evidence": ["HandFeatureNet", "PyramidMachine"],
        "heatmaps": ["heatmap_joints", "target_heatmaps"],
        "regressor": ["Regressor"],
        "estimator": ["PRESETS", "Estimate", "Estimator", "EstimatorConfig"],
        "upright": ["network_view"],
        "trained": ["load_shipped", "load_trained"],
        "checkpoints": ["read_checkpoint", "write_checkpoint"],
    },
)
