"""What the cluster says: the store followed into one node's view, who is alive, and what this node holds."""
