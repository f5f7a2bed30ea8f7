"""Bundles, the model registry on MLflow, its ledger, signatures and approvals."""
