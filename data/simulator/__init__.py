"""A contact centre with known truth: its customers, what they say, how they sound, and what breaks."""
