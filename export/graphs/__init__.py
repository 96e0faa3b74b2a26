"""Writes the graphs of a bundle in every precision."""
