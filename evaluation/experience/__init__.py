"""What the contact centre learns from its own contacts."""
