"""OpenStack's APIs, as far as Weft asks them: blocking calls in threads of their own, with a limit of time each."""
