"""Instruction sets of processors: what holds torch and its libraries to narrower ones than a processor has.

Wider ones add up in another order, so that a processor with AVX-512 gives other bits than one without; held to AVX2 it
gives the same. Each library documents its own variable.
"""

LIMITS = {
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "DEFAULT": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
}
"""By the instructions that a run's record names: environment variables for torch, oneDNN, MKL and numpy."""


def limits(recorded: object) -> dict[str, str]:
    """Variables with which a run that was recorded with these instructions is computed again; none where unknown."""
    return LIMITS.get(str(recorded), {})
