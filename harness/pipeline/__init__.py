"""A study, run by DVC: its pipeline, its runs in parallel, what a run left, and taking it back."""
