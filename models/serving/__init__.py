"""The HTTP service that answers with the champions, and the smoke test before one changes."""
