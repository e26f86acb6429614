"""From an installed package to a running agent: `weft init`.

wanted     what the user asks for
decide     what of it is to be written, out of what there is (pure), and why it is refused
edit       a settings file is changed and keeps its comments (pure)
told       what is said of it (pure)
look       what there is on this host, and what speaks against an agent here
change     files and units are changed, and put back where something fails
systemd    its commands
run        one after the other
"""
