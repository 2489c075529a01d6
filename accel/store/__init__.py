"""Where stored responses lie: bytes under keys, bounded in memory. Knows no HTTP."""
