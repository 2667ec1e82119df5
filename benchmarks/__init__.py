"""Measurements: always beside a yardstick of the same run, never asserted in tests."""
