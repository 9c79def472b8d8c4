"""Signals <-> vectors: torch modules, preprocessing, weights. Knows arrays, not files, people or chat."""
