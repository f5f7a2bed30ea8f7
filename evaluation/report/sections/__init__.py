"""The report's sections, one file an idea: each reads the store and gives plain values for the page."""
