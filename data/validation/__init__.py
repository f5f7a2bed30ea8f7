"""Is the data fit to learn from?

The only door to Great Expectations; every refused row has a line and a reason.
"""

from data.validation.contract import validate
from data.validation.params import ContractBroken, ValidationParams

__all__ = ["ContractBroken", "ValidationParams", "validate"]
