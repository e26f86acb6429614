"""The expressions of nf_tables: decoded as the kernel dumps them, run over registers, and written in nft's own language."""
