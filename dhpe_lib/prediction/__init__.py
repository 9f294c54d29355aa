"""From a photo to the files of a hand mesh."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "keypoints": ["HandKeypoints", "read_keypoints"],
        "from_joints_3d": ["Joints3d", "SpaceEstimate", "fit_joints_3d", "read_joints_3d"],
        "hand_search": ["load_hand_networks"],
        "from_photo": ["fit_found_hands", "predict_hands"],
        "from_estimator": ["look_with_estimator"],
        "from_keypoints": ["estimate_hand", "estimate_hands"],
        "hand_estimate": ["HandEstimate"],
        "outputs": ["write_estimate"],
        "demo": ["demo_scene"],
    },
)
