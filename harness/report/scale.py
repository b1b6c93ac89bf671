"""How far a study is from the paper's scale: its net, its images, its training."""

from harness.grammar import counted
from harness.net.layout import layout
from harness.settings.schema import Settings
from harness.settings.study import Study

PAPER = Settings()
"""The paper's net and recipe: the defaults of the settings."""


def scale(study: Study, images: str) -> str:
    """The baseline's net, images and epochs beside the paper's; empty where they are the paper's.

    `images` names the images, as in `which_images`.
    """
    base = study.variants[study.baseline]
    if at_scale(study):
        return ""
    return (
        f"**Scale.** The baseline here: {_net(base)}, {counted(base.epochs, 'epoch')} over {images}. The "
        f"paper's: {_net(PAPER)}, about {PAPER.epochs} epochs over 1.2 million images of 1,000 classes. What a "
        "component does at this scale is no verdict on what it does at the paper's; the paper's differences stand "
        "beside ours for comparison."
    )


def at_scale(study: Study) -> bool:
    """Whether the baseline has the paper's net, and as many epochs over ImageNet."""
    base = study.variants[study.baseline]
    imagenet = study.data.source == "imagenet" or study.data.release
    return bool(imagenet and _net(base) == _net(PAPER) and base.epochs >= PAPER.epochs)


def _net(settings: Settings) -> str:
    """`crops of 224 pixels, 96-256-384-384-256 kernels and 4096-4096 units`."""
    rows = layout(settings)
    kernels = "-".join(str(row.outputs) for row in rows if row.kind != "fc")
    hidden = "-".join(str(row.outputs) for row in rows[:-1] if row.kind == "fc")
    units = f" and {hidden} fully connected units" if hidden else ""
    return f"crops of {settings.crop} pixels, {kernels} kernels{units}"
