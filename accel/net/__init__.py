"""Sockets that compiled code reads and writes: what an event loop's transports do, for less. Knows nothing of HTTP."""
