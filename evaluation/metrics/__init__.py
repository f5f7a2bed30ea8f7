"""Metrics with confidence intervals. They take values and return values, and read no store."""
