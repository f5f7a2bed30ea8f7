"""Watches champions between trainings: drift, errors without words, verdicts, trends."""
