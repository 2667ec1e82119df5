"""What all long-running processes use: signals, locks, descriptors, errors of the disk, failpoints."""
