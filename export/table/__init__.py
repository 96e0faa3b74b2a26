"""The table of all models: what they are, how good, how fast, and for whom."""
