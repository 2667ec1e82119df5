"""The servers of this host: vLLM processes, nginx, and their supervisor."""
