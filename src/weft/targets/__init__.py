"""What is not this kernel and is reconciled all the same: a cloud's route table, Neutron.

Its objects come in the same contributions as the kernel's; a loop of its own brings them there (`weft.converge.loops`), by the
same reconciler. Here is what stands between that reconciler and the calls of an API that is slow, limited, or away.
"""
