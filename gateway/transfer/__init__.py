"""Bytes on their way in and out: bodies read, held or stored, long answers sent, room on the disk."""
