"""Every code block of the README and of CONTRIBUTING runs, and every docstring's example is right."""

import ast
import doctest
import importlib
import pathlib
import pkgutil
import re

import numpy as np
import pytest

import kjax

ROOT = pathlib.Path(__file__).parents[1]
MODULES = [m.name for m in pkgutil.walk_packages(kjax.__path__, "kjax.") if not m.name.endswith("__main__")]


def blocks(name):
    """The Python blocks of a document that are programs (a mere signature starts with `params, state =`)."""
    found = re.findall(r"```python\n(.*?)```", (ROOT / name).read_text(), re.DOTALL)
    return [block for block in found if not block.startswith("params, state =")]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_code_blocks_run_one_after_the_other(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    programs = blocks(name)
    assert programs
    scope = {}
    for program in programs:
        exec(compile(program, name, "exec"), scope)
        if name == "README.md" and program is programs[0]:
            check_the_output_in_the_readme(scope, capsys.readouterr().out)


def check_the_output_in_the_readme(scope, out):
    """It is what the first program prints, and what its mistakes would raise."""
    text = (ROOT / "README.md").read_text()
    printed = ast.literal_eval(out)
    # Other processors round otherwise, and 30 epochs carry it on: a third of the loss, four of 360 examples.
    loss, accuracy = ast.literal_eval(re.search(r"```text\n(.*?)```", text, re.DOTALL)[1])
    np.testing.assert_allclose(printed[0], loss, rtol=0.33)
    np.testing.assert_allclose(printed[1], accuracy, atol=0.0112)
    with pytest.raises(TypeError) as misspelt:
        scope["Conv2D"](32, kernal_size=3)
    with pytest.raises(ValueError) as shapeless:
        scope["model"].fit(scope["x_train"], scope["y_train"])
    assert all(f"Error: {error.value}\n" in text for error in (misspelt, shapeless))


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_are_right(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module)
    assert failed == 0


def test_the_documents_name_no_path_of_a_machine():
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        assert not re.search(r"/(home|root|work|tmp)/", (ROOT / name).read_text()), name
