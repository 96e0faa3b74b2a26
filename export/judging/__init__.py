"""Decides which precision holds, and compares what was written with the original."""
