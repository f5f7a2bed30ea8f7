"""Evaluation of recognisers: test sets, scorecard, behaviour tests, labels on their text."""
