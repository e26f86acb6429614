"""All that a cluster's users declare, as documents: networks, pools, floating addresses, BGP, policies, services.

Each kind is a small module, and one line in `table`: how its document is read and written, what is checked of it alone, and
what Weft chooses where it is silent. A document becomes an `Item` in normal form, so that two of them say the same exactly
where they are equal. What there is in the cluster is not known here: that is the agent's half
(`weft.agent.resources.declared`).
"""
