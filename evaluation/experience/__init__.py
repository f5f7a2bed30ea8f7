"""Measures of customer experience that the contact centre learns from its own contacts."""
