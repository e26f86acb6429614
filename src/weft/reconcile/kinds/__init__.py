"""The kinds of kernel objects, as far as there is anything to know of them without a kernel: a module for each, joined in
`table`."""
