"""Compiles the kernels for CPU while kjax is installed; without them it works, slower."""

import runpy
import sys
import sysconfig
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

KERNELS = runpy.run_path("kjax/native/build.py")


class Kernels(BuildHookInterface):
    """Hatch calls this before it makes a wheel, also an editable one."""

    def dependencies(self) -> list[str]:
        return ["ziglang>=0.13"] if KERNELS["targets"]() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        try:
            paths = KERNELS["build"]()
        except Exception as error:
            print(
                f"kjax: the kernels for CPU could not be compiled; XLA's own are used, slower: {error}", file=sys.stderr
            )
            return
        if paths:
            system = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data |= {"pure_python": False, "tag": f"py3-none-{system}"}
            build_data["artifacts"] += [f"kjax/native/{path.name}" for path in paths]
