"""How far a study is from the paper's scale: its net, its images, its training."""

from harness.net.layout import layout
from harness.report.template import paragraph
from harness.settings.schema import Settings
from harness.settings.study import Study


def scale(study: Study, images: str) -> str:
    """The baseline's net, images and epochs beside the paper's; empty where they are the paper's.

    `images` names the images, as in `which_images`.
    """
    base, paper = study.variants[study.baseline], Settings()
    imagenet = study.data.source == "imagenet" or study.data.release
    if imagenet and _net(base) == _net(paper) and base.epochs >= paper.epochs:
        return ""
    return paragraph("scale", base=base, paper=paper, net=_net, images=images)


def _net(settings: Settings) -> str:
    """`crops of 224 pixels, 96-256-384-384-256 kernels and 4096-4096 units`."""
    rows = layout(settings)
    kernels = "-".join(str(row.outputs) for row in rows if row.kind != "fc")
    hidden = "-".join(str(row.outputs) for row in rows[:-1] if row.kind == "fc")
    units = f" and {hidden} fully connected units" if hidden else ""
    return f"crops of {settings.crop} pixels, {kernels} kernels{units}"
