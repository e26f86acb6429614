"""From the view to what this host should have: pure."""
