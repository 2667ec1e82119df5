"""Connections of clients: how many there may be, what ends them, and how they share the event loop."""
