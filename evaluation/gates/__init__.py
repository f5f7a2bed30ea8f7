"""Whether a candidate may become champion: checks found by name, one decision record, no without evidence."""
