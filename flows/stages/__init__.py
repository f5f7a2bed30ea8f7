"""What the flows' tasks do, as plain functions without Prefect; `runner` calls them by name."""
