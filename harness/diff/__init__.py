"""Two reports of a study side by side: what moved, what a verdict became, and why."""
