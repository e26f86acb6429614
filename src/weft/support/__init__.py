"""One archive of all that somebody needs who helps from afar, and of nothing that is secret. See docs/support.md."""
