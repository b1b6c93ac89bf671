"""What is declared: every setting once, the presets, and the studies made of them."""
