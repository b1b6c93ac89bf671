"""MLflow: a view of the recorded runs, brought there as often as one likes, and never needed to train."""
