"""Reads a tokenizer's files and writes them as the tables that a bundle holds."""
