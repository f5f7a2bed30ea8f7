"""Training of churn models: hazard network, additive part, trees, plain tables, uplift."""
