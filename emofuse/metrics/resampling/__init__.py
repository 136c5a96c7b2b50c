"""Metrics of many systems over resamples of groups."""
