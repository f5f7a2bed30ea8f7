"""The HTTP service: answers with the champions, tells whether it can, and is tried before a champion changes."""
