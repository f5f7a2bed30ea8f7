"""A model between training and release: run, bundle, scorecards, probes, decision, approval, release."""
