"""Verification: a stored run is made again, and compared with its record to the bit."""
