"""Processes: the arbiter, its workers, what they share, and how an operator speaks to them."""
