"""Records, sources, simulator, validation, labelling, features and versions of the data."""
