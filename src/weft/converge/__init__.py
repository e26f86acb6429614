"""The loop that brings to the kernel what was compiled."""
