"""What the package is: what importing it loads, what its names are, and its command line."""

import subprocess
import sys

import pytest

import kjax
from kjax import __main__ as command
from kjax import layers, nn


def test_importing_loads_nothing_heavy():
    heavy = {"matplotlib", "tqdm", "safetensors", "pandas", "keras", "scipy"}
    code = f"import sys, kjax; print(*{{m.split('.')[0] for m in sys.modules}} & {heavy})"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == [] or out.split() == ["scipy"]  # jax itself loads scipy


def test_importing_starts_no_backend():
    code = "import kjax; from jax._src import xla_bridge; print(xla_bridge.backends_are_initialized())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_keras_names_lead_to_the_same_things():
    core = {"Serial", "Graph", "Composite", "Node", "Operation", "Slice", "Layer", "LayerError", "Masked", "merge"}
    public = {name for name in vars(nn) if name[0].isupper() or name == "merge"}
    assert public - core <= set(vars(layers)) and layers.Dense is nn.Dense
    assert kjax.models.Sequential is kjax.Sequential and kjax.optimizers.SGD is kjax.optim.SGD
    assert kjax.__version__


@pytest.mark.parametrize(
    "arguments", [["demo", "--epochs", "0"], ["demo", "--dataset", "cifar"], [], ["demo", "--seed", "x"]]
)
def test_wrong_arguments_end_with_usage(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(arguments)
    assert caught.value.code == 2 and "usage: kjax" in capsys.readouterr().err


def test_help_explains_every_option(capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(["demo", "--help"])
    said = capsys.readouterr().out
    assert caught.value.code == 0
    assert all(
        option in said for option in ("--dataset", "--epochs", "--seed", "--output", "--no-keep-pages", "fashion_mnist")
    )


def test_the_demo_trains_reports_and_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert command.main(["demo", "--epochs", "8", "--no-keep-pages"]) == 0
    said = capsys.readouterr().out
    assert "Total params" in said and "held-out accuracy" in said and "compile" in said
    accuracy = float(said.split("held-out accuracy: ")[1].split("%")[0])
    assert accuracy > 90
    assert (tmp_path / "demo.png").read_bytes()[:4] == b"\x89PNG"


def test_a_missing_data_set_is_one_line(tmp_path, monkeypatch, capsys):
    def load_data():
        raise OSError("cannot download https://example.org/mnist.npz")

    monkeypatch.setattr(kjax.datasets.mnist, "load_data", load_data)
    assert command.main(["demo", "--dataset", "mnist", "--no-keep-pages"]) == 1
    assert capsys.readouterr().err.strip() == "kjax demo: cannot download https://example.org/mnist.npz"


@pytest.mark.parametrize(("options", "wanted"), [([], ["kept", "ran"]), (["--no-keep-pages"], ["ran"])])
def test_the_demo_keeps_pages_before_anything_else_unless_told(options, wanted, monkeypatch):
    done = []
    monkeypatch.setattr(command, "keep_pages", lambda: done.append("kept"))
    monkeypatch.setattr("kjax.demo.run", lambda *_: done.append("ran") or 0)
    assert command.main(["demo", *options]) == 0 and done == wanted
