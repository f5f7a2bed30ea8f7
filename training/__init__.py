"""How it learns: training loops and the runs they leave behind."""
