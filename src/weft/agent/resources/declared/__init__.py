"""What is declared as documents (`weft.declared`), compared with what there is, and brought about by the API's other resources:
a part for each kind, or for several that go together, and one line for it in `resource`."""
