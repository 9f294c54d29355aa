"""From a photo to the files of a hand mesh."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "keypoints": ["HandKeypoints", "read_keypoints"],
        "from_photo": ["predict_hand"],
        "from_keypoints": ["estimate_hand"],
        "hand_estimate": ["HandEstimate"],
        "outputs": ["write_estimate"],
        "demo": ["demo_scene"],
    },
)
