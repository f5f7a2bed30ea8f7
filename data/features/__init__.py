"""Point-in-time features of customers, and the contacts that explain them."""
