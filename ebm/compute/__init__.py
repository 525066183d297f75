"""Ring 0: arrays, kernels, random streams and matrix products. Knows no model."""
