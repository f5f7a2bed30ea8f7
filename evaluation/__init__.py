"""Is it good enough: metrics, scorecards, gates, comparisons and reports."""
