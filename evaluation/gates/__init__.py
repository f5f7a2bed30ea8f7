"""The gate: checks that decide whether a candidate may become champion, and the decision record."""
