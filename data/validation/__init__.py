"""Validates the record tables with Great Expectations; every rejected row has a reason."""

from data.validation.contract import validate
from data.validation.params import ContractBroken, ValidationParams

__all__ = ["ContractBroken", "ValidationParams", "validate"]
