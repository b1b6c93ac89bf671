"""Verification: a stored run is re-run and compared bitwise with its record."""
