"""Hosts that find each other without a central store: who is there, and who keeps the store (docs/mesh.md)."""
