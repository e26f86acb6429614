"""Daemons in the agent's care."""
