"""The churn model: encoding, hazard network, trees, plain tables, treatment."""
