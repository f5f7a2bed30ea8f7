"""The rulers: word errors, intervals. They take values and return values."""
