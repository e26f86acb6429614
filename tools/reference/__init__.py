"""The reference pages of docs/reference/, made from the code: `python -m tools.reference` writes them.

Each module here makes the pages of one subject, as text by path below docs/. All is pure but `write`.
"""
