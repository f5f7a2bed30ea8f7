"""The gate's checks, one a file: NAME, PROMISE, applies, check, and evidence it ACCEPTS or REFUSES."""
