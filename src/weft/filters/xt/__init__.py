"""Matches and targets of iptables, as the kernel's structs, in both of its back ends: in expressions `match` and `target` of
nf_tables, and in the entries of the old tables.

    decode   a struct → its text as iptables-save writes it, and a function that judges a packet (basic, connection,
             surroundings, doubtful) or does something to it (target, nat)
    entry    an entry of an old table: what it asks of the header, its matches and its target
    legacy   the old tables' chains, run
    save     a rule of iptables-nft, written in the language of iptables
    sets     sets of ipset
"""

from weft.filters.xt.decode import match, match_text, target, target_text
from weft.filters.xt.legacy import legacy
from weft.filters.xt.save import Spec, spec
from weft.filters.xt.sets import Ipsets

__all__ = ["Ipsets", "Spec", "legacy", "match", "match_text", "spec", "target", "target_text"]
