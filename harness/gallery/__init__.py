"""Pictures of one trained net: its kernels, its answers, and what lies between them."""
