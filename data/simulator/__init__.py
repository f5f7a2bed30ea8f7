"""Simulates a contact centre with known truth: customers, contacts, speech and faults."""

from data.simulator.export import simulate
from data.simulator.params import Effects, SimulatorParams

__all__ = ["Effects", "SimulatorParams", "simulate"]
