"""Data paths: pure functions from the model to kernel objects, one file each. `registry` finds them by driver name."""
