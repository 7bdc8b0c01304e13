"""Compiles the kernels into a library for each level of processor: `python kjax/native/build.py`.

The compiler is Zig's, a package like any other, so that nothing needs to be on the machine. It needs neither kjax nor
JAX, for it runs while kjax is installed.
"""

import hashlib
import os
import pathlib
import platform
import subprocess
import sys
import tempfile

FOLDER = pathlib.Path(__file__).parent
OPTIONS = (
    "-std=c11 -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -mprefer-vector-width=512 "
    "-fvisibility=hidden -shared -fPIC -g0 -Wall -Wextra -Werror"
)
TARGETS = {
    ("linux", "x86_64"): {"x86_64_v4": "x86_64-linux-gnu.2.17", "x86_64_v3": "x86_64-linux-gnu.2.17"},
    ("linux", "aarch64"): {"generic": "aarch64-linux-gnu.2.17"},
    ("darwin", "arm64"): {"apple_m1": "aarch64-macos"},
}
"""By system and machine: the processors to compile for, and Zig's name of each."""


def sources() -> str:
    """A digest of what the kernels are compiled from; each library carries it."""
    digest = hashlib.sha256()
    for path in sorted([*FOLDER.glob("*.[ch]"), FOLDER / "build.py"]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def targets() -> dict[str, str]:
    """What to compile for on this system: nothing where it has no entry in the table."""
    return TARGETS.get((sys.platform, platform.machine()), {})


def build() -> list[pathlib.Path]:
    """The libraries, compiled."""
    levels = {processor: processor if "x86" in processor else platform.machine() for processor in targets()}
    names = {processor: f"kernels_{sys.platform}_{level}.library" for processor, level in levels.items()}
    return [compile_for(processor, target, names[processor]) for processor, target in targets().items()]


def compile_for(processor: str, target: str, name: str) -> pathlib.Path:
    """One library; it takes its place only when it is whole."""
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "ziglang", "cc", *OPTIONS.split(), f"-mcpu={processor}", "-target", target]
        command += [f'-DKJAX_SOURCES="{sources()}"']
        command += ["-o", f"{work}/{name}", *sorted(map(str, FOLDER.glob("*.c")))]
        caches = {"ZIG_GLOBAL_CACHE_DIR": work, "ZIG_LOCAL_CACHE_DIR": work}
        subprocess.run(command, check=True, env=os.environ | caches)
        made = FOLDER / f".{os.getpid()}_{name}"
        made.write_bytes(pathlib.Path(work, name).read_bytes())
    return made.replace(FOLDER / name)


if __name__ == "__main__":
    for path in build():
        print(path.name, path.stat().st_size)
