"""The sections of the report. Each reads artefacts and returns plain values for the page."""
