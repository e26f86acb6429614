"""Who may talk to whom: what a policy says, whom it concerns, and the rules that come of it. Pure."""
