"""A repository of one's own: what `harness init` writes."""
