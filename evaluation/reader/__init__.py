"""Evaluation of contact readers: test set, scorecard, behaviour tests."""
