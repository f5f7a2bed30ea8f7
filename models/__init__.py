"""What predicts: the recogniser, the churn network, their bundles, the registry and the service."""
