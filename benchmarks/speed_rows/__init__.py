"""The rows of benchmarks/speed.py: one module a family, and what they measure with."""
