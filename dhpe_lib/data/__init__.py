"""Pictures of hands with labels: the crop frame (Eq. 8), samples, crops, targets, photos, backgrounds."""
