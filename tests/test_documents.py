"""Every code block of the README and of CONTRIBUTING runs, and every docstring's example is right."""

import doctest
import importlib
import pathlib
import pkgutil
import re

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


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_are_right(name):
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module)
    assert failed == 0


def test_the_documents_name_no_path_of_a_machine():
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        assert not re.search(r"/(home|root|work|tmp)/", (ROOT / name).read_text()), name
