"""A marked packet sent for real, and who saw it: what was predicted beside what was seen."""
