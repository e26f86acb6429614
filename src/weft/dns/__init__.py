"""Names for containers: what they are asked by, and what is answered."""
