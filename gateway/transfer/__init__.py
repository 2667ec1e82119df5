"""Bytes in and out: bodies read, held or stored, long answers sent, disk space."""
