"""What every long-running process shares: signals, locks, descriptors, a disk that refuses, failpoints."""
