"""Programs for the kernel's virtual machine (eBPF), as data: written instruction by instruction, without a compiler. Pure.

`assembler` writes one; `layout` says what programs and agent tell each other through maps; each program is a module.
"""
