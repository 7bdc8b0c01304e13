"""What `fit` prints, in a log file and in a real terminal."""

import io
import os
import pty
import select
import sys

import pytest

from kjax import loop
from kjax.progress import Progress, written


def run(file, verbose):
    progress = Progress(2, verbose, file)
    for epoch in range(2):
        progress.epoch_begin(epoch, 4)
        for step in (2, 4):
            progress.update(step, {"loss": 0.5 / step})
        progress.epoch_end({"loss": 0.125, "val_loss": 0.00012})
    progress.close()


@pytest.mark.parametrize("verbose", [1, 2])
def test_a_log_file_gets_one_line_per_epoch_without_returns(verbose):
    file = io.StringIO()
    run(file, verbose)
    lines = file.getvalue().splitlines()
    assert "\r" not in file.getvalue() and len(lines) == 4
    assert lines[0] == "Epoch 1/2" and lines[2] == "Epoch 2/2"
    assert lines[1].startswith("4/4 - 0.0s - ") and lines[1].endswith("/step - loss: 0.1250 - val_loss: 1.2000e-04")


def test_silence():
    file = io.StringIO()
    run(file, 0)
    assert file.getvalue() == ""


def test_a_terminal_gets_a_bar_that_is_gone_at_the_end():
    parent, child = pty.openpty()
    with os.fdopen(child, "w") as file:
        run(file, 1)
        file.flush()
        said = b""
        while select.select([parent], [], [], 0.2)[0]:
            said += os.read(parent, 4096)
    os.close(parent)
    said = said.decode()
    assert "0/4 [" in said and "left" in said and "\r" in said
    kept = [line.split("\r")[-1] for line in said.replace("\r\n", "\n").splitlines()]
    assert next(line for line in kept if line.strip()) == "Epoch 1/2" and sum("4/4 - " in line for line in kept) == 2


def test_an_evaluation_has_no_heading():
    file = io.StringIO()
    progress = Progress(1, 1, file)
    progress.epoch_begin(None, 3)
    progress.epoch_end({"loss": 1.0})
    assert file.getvalue().startswith("3/3 - ")


def test_numbers_are_written_as_keras_writes_them():
    assert (
        written({"a": 0.0, "b": -0.0005, "c": 12.0, "d": float("nan")})
        == "a: 0.0000 - b: -5.0000e-04 - c: 12.0000 - d: nan"
    )


def test_standard_output_is_the_default():
    assert Progress(1).file is sys.stdout


def test_the_first_dispatches_are_of_one_step_so_that_a_bar_moves_at_once_then_they_grow():
    pace, found = loop.Pace(verbose=1), []
    pace.begin({})
    for seconds in (5.0, 1e-3, 8e-3, 64e-3):  # the first one compiles
        found.append(pace.steps)
        pace.timed(pace.steps, seconds)
    assert found == [1, 1, 8, 64] and pace.steps == int(loop.SHOWN_SECONDS / 1e-3)
    later = loop.Pace(verbose=1)
    later.begin({"train": 1e-3})  # known from an earlier `fit`
    assert later.steps == int(loop.SHOWN_SECONDS / 1e-3)
