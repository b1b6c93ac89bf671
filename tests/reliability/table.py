"""Why each operator is deterministic on CUDA."""

REASONS: dict[str, str] = {}


def reason(operator: str) -> str:
    return REASONS.get(operator.removesuffix(".default"), "")
