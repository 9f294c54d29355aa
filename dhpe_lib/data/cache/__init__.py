"""The prepared cache: crops of a dataset on disk, with random access."""
