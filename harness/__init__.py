"""A reproducibility and ablation benchmark harness around AlexNet (Krizhevsky, Sutskever and Hinton 2012)."""

__version__ = "0.1.0"
