"""One row per layer and set of options: the generic tests in tests/nn/test_layers.py run all of them on every row.

A row has the layer, an input, and how to make the same layer in Keras 3 (None where Keras has no such layer or
means something else by it; the row then says what to compare with instead). Each module of tests/rows/ holds the
rows of one family as `ROWS`, and the mistakes that its layers must refuse as `MISTAKES`.
"""

import importlib
import pkgutil

import rows

FAMILIES = [importlib.import_module(f"rows.{module.name}") for module in pkgutil.iter_modules(rows.__path__)]
CASES = [case for family in FAMILIES for case in family.ROWS]
MISTAKES = {name: mistake for family in FAMILIES for name, mistake in getattr(family, "MISTAKES", {}).items()}
