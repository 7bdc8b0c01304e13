"""A processor with fewer instructions than this one has, as most laptops: all peers are told to do without the others.

Each library asks the processor for itself what it can do, so that each has a setting of its own; what belongs to other
peers does no harm. What they use in the end is asked of the system, which keeps it for each thread.
"""

import os
import pathlib
import time

PROCESS = pathlib.Path("/proc")
BEGAN = time.monotonic()
NO_AVX512 = ",".join(f"-AVX512{part}" for part in ("F", "CD", "DQ", "BW", "VL"))
SETTINGS = {
    "avx2": {
        "KJAX_NATIVE": "x86_64_v3",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "TORCHINDUCTOR_CPP_MARCH": "x86-64-v3",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
        "GLIBC_TUNABLES": f"glibc.cpu.hwcaps={NO_AVX512}",
    }
}
"""By what is left: environment variables for kjax, XLA, PyTorch, torch.compile, oneDNN, MKL, NumPy, copying memory."""


def used_avx512(process: pathlib.Path = PROCESS, began: float = BEGAN) -> bool | None:
    """Whether a thread of this process has used AVX-512 since it began; None where the system does not tell.

    It keeps how long ago that was, or -1. A process inherits it from the one that started it, so what was earlier is
    not its own. Threads are asked one by one by their own numbers: what a process tells is only that of its first.
    """
    threads = process / "self/task"
    files = [process / name / "arch_status" for name in os.listdir(threads)] if threads.exists() else []
    told = [path.read_text().split() for path in files if path.exists()]
    age = 1e3 * (time.monotonic() - began)
    return any(0 <= int(elapsed) < age for _, elapsed in told) if told else None
