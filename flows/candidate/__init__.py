"""A model between training and release.

Run, bundle, scorecards, probes, decision, approval and release.
"""
