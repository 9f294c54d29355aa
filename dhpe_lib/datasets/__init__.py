"""Datasets: one reader for each, the prepared cache, and the synthetic engine."""
