"""Training of recognisers: fine-tuning, the base, text adaptation, calibration of confidence."""
