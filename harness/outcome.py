"""What a study's run left that is not what the last commit holds, and why."""

from pathlib import Path

from harness.settings.study import Study


def differing(study: Study, root: Path) -> list[str]:
    """Lines; none where nothing differs."""
    return []
