"""Labelled pictures of hands: the crop frame (below Eq. 8), samples, crops, dataset readers and the prepared cache."""

from dhpe_lib.common.lazy import lazy_exports

__all__, __getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "crop_frame": ["SIZE", "CropFrame"],
        "sample": ["Sample", "mirror", "project"],
        "cropping": ["crop_sample"],
        "crops": ["Crops"],
        "targets": ["Targets", "joint_error_px", "masked_images", "targets_of"],
        "views": ["View", "jittered_view", "plain_view"],
        "camera": ["Camera"],
        "perspective": ["place_hand"],
        "photos": ["read_mask", "read_photo"],
        "readers": ["DATASETS"],
        "cache": ["Prepared", "PreparedWriter"],
    },
)
