"""The net: a table of layers, and the modules built from it."""
