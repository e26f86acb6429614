"""The CNI plugin `weft-cni`: `plugin` is all of it, in one file; `launcher` puts it where container engines look."""
