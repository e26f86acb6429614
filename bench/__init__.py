"""Weft's benchmarks: `./dev bench`, or `python -m bench`. Each figure stands beside its reference, measured in the same
run. docs/performance.md says what they mean.
"""
