"""The command line: the composition root of every process, and a client of the API."""
