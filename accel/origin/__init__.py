"""The way to the origin: which backend, whether it is well, its connections, one fetch."""
