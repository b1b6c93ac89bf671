"""This repository's own studies beside the default one; a user may add others, of which no test speaks."""

OWN = (
    "as-run",
    "cifar10",
    "claims-small",
    "fall2009",
    "fall2011",
    "imagenet",
    "imagenet-pretrained",
    "imagenette",
    "noise",
    "overfitting",
    "recipe",
)
