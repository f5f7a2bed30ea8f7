"""HTML pages for people: the report of a run, a decision, a comparison. Each is one whole file."""
