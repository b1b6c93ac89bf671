"""Images: where they come from, how they are packed once, and the batches that a net sees."""
