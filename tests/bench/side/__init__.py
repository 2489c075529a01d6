"""The parts of side_by_side.py: peers and their processes, works, rounds, report, and two small C programs."""
