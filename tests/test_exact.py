"""The tests that compare bits, in a process with XLA's flags as users have them: others round in other places."""

import os
import pathlib
import subprocess
import sys

TESTS = pathlib.Path(__file__).parent
MARK = "@pytest.mark." + "exact"


def test_equal_bits_as_users_have_it():
    files = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if MARK in path.read_text()]
    environment = os.environ | {"XLA_FLAGS": "", "KJAX_TESTS_EXACT": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", "exact", *files]
    done = subprocess.run(command, env=environment, cwd=TESTS.parent, capture_output=True, text=True)
    assert files and done.returncode == 0, done.stdout + done.stderr
