"""Training: the recipe, its state, and the loop."""
