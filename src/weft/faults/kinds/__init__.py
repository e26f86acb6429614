"""Kinds of faults, one module for each group of them."""
