"""What feeds what in a network, where the boxes of its picture stand, and what the picture shows."""

import itertools
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kjax
from kjax import nn
from kjax.diagram import ROW, Arranged, Options, diagram
from kjax.flow import Flow
from kjax.layout import Edge, layout, ranks
from kjax.utils import plot_model


class Residual(nn.Composite):
    units: int = 3

    def parts(self):
        return {"wide": nn.Dense(2 * self.units, "relu"), "drop": nn.Dropout(0.5), "back": nn.Dense(self.units)}

    def forward(self, x):
        return jax.nn.sigmoid(x) + self.back(self.drop(self.wide(x)))


class Outer(nn.Composite):
    def parts(self):
        return {"inner": Residual(3), "gate": nn.Dense(3)}

    def forward(self, x):
        h = jax.checkpoint(lambda x: self.inner(x))(x)
        h = jax.vmap(lambda row: self.gate(row[None])[0])(h)
        return jnp.where(h > 0, h, self.gate(h)) * 2.0


def shared():
    a, b = nn.Input(shape=(4,), name="a"), nn.Input(shape=(4,), name="b")
    encode = nn.Dense(3, name="encode")
    p, q = encode(a), encode(b)
    return nn.Graph([a, b], [nn.Dense(1, name="far")(p - q), nn.Dense(2, name="near")(p * q)])


def skips():
    x = h = nn.Input(shape=(8,))
    kept = []
    for units in (8, 6, 4):
        h = nn.Dense(units)(h)
        kept.append(h)
    for skip in kept[::-1]:
        h = nn.Dense(skip.shape[-1])(h) + skip
    return nn.Graph(x, nn.Dense(1)(h + nn.Dense(8)(x)))


def masks():
    a, b = nn.Input(shape=(4,)), nn.Input(shape=(4,))
    pair = nn.Graph([a, b], {"sum": a + b, "dense": nn.Dense(4)(b)}, name="pair")
    x = nn.Input(shape=(4,))
    found = pair([Residual(4)(x), nn.Serial([nn.Dense(4, trainable=False), nn.Dense(4)])(x)])
    return nn.Graph(x, [found["sum"], found["dense"]])


NETS = {
    "serial": (nn.Serial([nn.Dense(3), nn.Dropout(0.5), nn.Activation("relu"), nn.Dense(2)]), (1, 4)),
    "shared": (shared(), None),
    "composite": (Outer(), (1, 3)),
    "skips": (skips(), None),
    "nested": (masks(), None),
    "one layer": (nn.Dense(2), (1, 3)),
}


def built(name):
    net, shape = NETS[name]
    x = net.specs() if shape is None else jax.ShapeDtypeStruct(shape, jnp.float32)
    return net, *jax.eval_shape(net.init, jax.random.key(0), x), x


def flow(name):
    net, params, state, x = built(name)
    params, state = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (params, state))
    return Flow(net, params, state, x)


def links(name):
    """Each step with the names of what feeds it."""
    steps = flow(name).steps
    return [(step.name, [steps[v[0]].name for v in step.sources]) for step in steps if step.name]


def test_a_layer_that_does_nothing_in_use_is_still_in_the_row():
    names = ["", "dense", "dropout", "activation", "dense_1"]
    assert links("serial") == [(name, [before]) for before, name in itertools.pairwise(names)]


def test_a_shared_layer_is_there_at_each_of_its_calls():
    found = flow("shared")
    assert [(s.name, s.sources) for s in found.steps if s.name == "encode"] == [
        ("encode", ((0, 0),)),
        ("encode", ((1, 0),)),
    ]
    assert [found.steps[v[0]].name for v in found.outputs] == ["far", "near"]
    assert dict(links("shared"))["sub"] == ["encode", "encode"]


def test_what_a_forward_computes_is_a_step_where_it_joins_values():
    found = links("composite")
    assert [name for name, _ in found] == ["inner", "gate", "gate", "select_n"]
    assert found[-1] == ("select_n", ["gate", "gate"])
    net = Residual(3)
    x = jnp.ones((1, 3))
    own = Flow(net, *net.init(jax.random.key(0), x), x)
    assert own.steps[-1].name == "add" and {v[0] for v in own.steps[-1].sources} == {0, len(own.steps) - 2}


def test_shapes_are_those_of_a_run():
    net, shape = NETS["composite"]
    assert [step.y.shape for step in flow("composite").calls] == [(1, 3)] * 3
    assert jax.tree.map(jnp.shape, jax.eval_shape(lambda: net.init(jax.random.key(0), jnp.ones(shape))))


# The picture.


def arranged(name, across=False, nested=True):
    net, params, state, x = built(name)
    params, state = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (params, state))
    options = Options(shapes=True, nested=nested, trainable=True, across=across)
    return Arranged(diagram(net, params, state, x, options), lambda text: 5.0 * len(text), across)


def rows(what):
    for box in what.boxes:
        yield from box.rows
        yield from rows(box.inner) if box.inner else ()


def check(found):
    """Boxes stand apart and inside; edges lead down and cross no box."""
    size = np.array(found.sizes)
    low, high = np.array(found.centres) - size / 2, np.array(found.centres) + size / 2
    assert (low >= -1e-6).all() and (high <= np.array(found.size) + 1e-6).all()
    real = [i for i in range(len(size)) if size[i].all()]
    for i, j in itertools.combinations(real, 2):
        assert (low[i] >= high[j]).any() or (low[j] >= high[i]).any()
    along = 0 if found.across else 1
    for edge, route in zip(found.edges, found.routes, strict=True):
        assert all(a[along] <= b[along] + 1e-6 for a, b in itertools.pairwise(route))
        for a, b in itertools.pairwise(route):  # a curve stays in the rectangle between its ends
            for i in set(real) - {edge.source, edge.target}:
                left, right = np.minimum(a, b), np.maximum(a, b)
                assert (right <= low[i] + 1e-6).any() or (left >= high[i] - 1e-6).any()
    for i, inner in found.inner.items():
        assert (np.array(inner.size) + found.origin(i) <= size[i] + 1e-6).all()
        check(inner)


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_boxes_stand_apart_and_edges_run_between_them(name, across):
    check(arranged(name, across))


PAIR = st.tuples(st.integers(0, 8), st.integers(0, 8))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.sets(PAIR))
def test_any_graph_has_a_layout(n, pairs):
    edges = [Edge(a, b) for a, b in sorted(pairs) if a < b < n]
    sizes = [(20.0 + 7 * i, 10.0 + 3 * (i % 4)) for i in range(n)]
    rank = ranks(n, edges)
    assert min(rank) == 0 and all(rank[e.source] < rank[e.target] for e in edges)
    check(types.SimpleNamespace(sizes=sizes, edges=edges, inner={}, across=False, **layout(sizes, edges)._asdict()))


def test_a_skip_connection_runs_beside_straight():
    found = layout([(100, 40)] * 4, [Edge(0, 1), Edge(1, 2), Edge(2, 3), Edge(0, 3)])
    np.testing.assert_allclose([x for x, _ in found.centres], 50, atol=0.5)  # the boxes form a column
    xs = [x for x, _ in found.routes[3][2:6]]
    assert min(xs) > 100 and max(xs) - min(xs) < 1e-6


def test_data_that_flows_to_the_right_enters_by_the_first_row_and_leaves_by_the_last():
    found = arranged("shared", across=True)
    for edge, route in zip(found.edges, found.routes, strict=True):
        for i, (_, y), sign in ((edge.source, route[0], 1), (edge.target, route[-1], -1)):
            away = (found.sizes[i][1] - ROW) / 2
            assert y == pytest.approx(found.centres[i][1] + sign * away)


def test_every_layer_is_there_and_what_is_special_is_marked():
    found = {row.name: row for row in rows(arranged("nested").diagram)}
    assert set(found) == {"input", "wide", "drop", "back", "add", "dense", "dense_1"}
    closed = [row.name for row in rows(arranged("nested", nested=False).diagram)]
    assert sorted(closed) == ["input", "pair", "residual", "serial"]
    assert [row.note for row in rows(arranged("shared").diagram)].count("(Dense, shared)") == 2
    assert any(row.note == "(Dense, frozen)" for row in rows(arranged("nested").diagram))
    assert found["wide"].detail == "(None, 8)" and found["input"].kind == "input"


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def model(**options):
    return kjax.Sequential([nn.Dense(8, "relu", input_shape=(4,)), nn.Dense(3, **options)])


def test_a_model_is_drawn_with_what_is_asked_for():
    options = {"show_dtype": True, "show_layer_activations": True, "show_trainable": True}
    said = texts(plot_model(model(trainable=False), None, **options))
    assert said[:6] == ["input", "(Input)", "float32", "dense", "(Dense, relu)", "float32"]
    assert said[6:] == ["dense_1", "(Dense, frozen)", "float32"]
    assert texts(plot_model(model(), None, show_layer_names=False))[::3] == ["Input", "Dense", "Dense"]


class Stacked(kjax.Model):
    def __init__(self):
        super().__init__()
        self.first, self.rest = nn.Dense(4), [nn.Dense(4), nn.Dense(4)]

    def call(self, inputs):
        h = self.first(inputs)
        for layer in self.rest:
            h = h + layer(h)
        return [h, inputs * h]


def test_a_subclass_of_model_is_drawn_and_outputs_on_the_way_are_marked():
    own = Stacked()
    own.build((None, 4))
    said = texts(plot_model(own, None))[::3]
    assert said == ["input", "first", "rest_0", "add", "rest_1", "add", "mul"]
    assert "output" in texts(plot_model(own, None))


def test_no_text_is_wider_than_its_box():
    figure = plot_model(model(), None, show_shapes=True)
    figure.canvas.draw()
    axes = figure.axes[0]
    border = axes.patches[0].get_window_extent()
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert all(border.x0 < box.x0 and box.x1 < border.x1 for box in boxes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_the_suffix_says_what_is_written(tmp_path, suffix, start):
    net = nn.Graph(*(lambda a: (a, nn.Dense(4)(a) + a))(nn.Input(shape=(4,))))
    plot_model(kjax.Model(nn.Serial([net])), tmp_path / f"model.{suffix}", expand_nested=True, rankdir="LR")
    assert (tmp_path / f"model.{suffix}").read_bytes().startswith(start)


def test_wrong_arguments_are_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"the weights do not exist yet.*model\.build"):
        plot_model(kjax.Sequential([nn.Dense(2)]), None)
    with pytest.raises(ValueError, match=r"\.png, \.svg, \.pdf.*model\.bmp"):
        plot_model(model(), "model.bmp")
    with pytest.raises(ValueError, match=r"rankdir is \"TB\".*'UP'"):
        plot_model(model(), None, rankdir="UP")
    with pytest.raises(TypeError, match=r"draws a model, kjax\.Model\(layer\).*Dense\(2\)"):
        plot_model(nn.Dense(2), None)
    with pytest.raises(TypeError, match="Did you mean 'show_shapes'"):
        plot_model(model(), None, show_shape=True)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r'pip install "kjax\[plot\]"'):
        plot_model(model(), None)
