"""Compiles the kernels for CPU while kjax is installed; without them it works, slower."""

import runpy
import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Kernels(BuildHookInterface):
    """Hatch calls this before it makes a wheel, also an editable one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        try:
            paths = runpy.run_path("kjax/native/build.py")["build"]()
        except Exception as error:
            print(f"kjax: the kernels for CPU could not be compiled, and XLA's own are used: {error}", file=sys.stderr)
            return
        build_data["artifacts"] += [f"kjax/native/{path.name}" for path in paths]
        build_data["pure_python"] = not paths
        build_data["infer_tag"] = bool(paths)
