"""Seeded histories of kills and faults over the real processes, and what must hold after each."""
