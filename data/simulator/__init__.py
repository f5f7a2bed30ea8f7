"""A contact centre with known truth: its customers, what they say, how they sound, and what breaks."""

from data.simulator.export import simulate
from data.simulator.params import Effects, SimulatorParams

__all__ = ["Effects", "SimulatorParams", "simulate"]
