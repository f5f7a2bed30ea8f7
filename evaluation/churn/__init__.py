"""Evaluation of churn models: scorecard, scoring, matured outcomes, treatment policies."""
