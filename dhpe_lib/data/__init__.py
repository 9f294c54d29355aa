"""Images, cameras and datasets."""
