"""When, and what if it fails: steps, Prefect flows, wiring and the command line."""
