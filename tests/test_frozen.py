"""The settings objects: equality, hashing, pickling, and messages that name the right word."""

import pickle

import pytest

from kjax.frozen import Frozen, pair, require_between, require_int, suggest


class Scale(Frozen):
    factor: float = 1.0
    axes: tuple = ()

    @classmethod
    def translate(cls, kwargs):
        return {"factor" if name == "by" else name: value for name, value in kwargs.items()}

    def validate(self):
        require_between(self.factor, "factor", "Scale", 0.0, 10.0)


class Needy(Frozen):
    units: int


def test_equal_settings_are_equal_hash_alike_and_pickle():
    a, b = Scale(2.0, [1, [2]]), Scale(factor=2.0, axes=(1, (2,)))
    assert a == b and hash(a) == hash(b) and a != Scale(3.0)
    assert pickle.loads(pickle.dumps(a)) == a
    assert repr(a) == "Scale(factor=2.0, axes=(1, (2,)))" and repr(Needy(3)) == "Needy(3)"


def test_other_names_are_translated_and_copies_are_checked():
    assert Scale(by=2.0) == Scale(2.0)
    with pytest.raises(ValueError, match=r"Scale: factor must be in \[0.0, 10.0\]; got -1"):
        Scale().replace(factor=-1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scale(facter=1.0), "Scale has no argument 'facter'. Did you mean 'factor'?"),
        (lambda: Scale(zzz=1.0), "Scale has no argument 'zzz'. Known: axes, factor."),
        (lambda: Needy(), "Needy is missing 1 required argument: 'units'. Its arguments: units."),
        (lambda: Needy(1, 2), "Needy takes 1 positional arguments, but 2 were given. Its arguments: units."),
        (lambda: Scale(axes={}), "Scale: axes={} cannot be hashed"),
        (lambda: require_int(True, "units", "Dense"), "Dense: units must be an integer of at least 1; got True"),
        (lambda: require_between("1", "rate", "Dropout", 0, 1), "Dropout: rate must be a number; got '1'"),
        (lambda: pair((1, 2, 3), "strides", "Conv2D"), "Conv2D: strides is one integer or 2 of them"),
        (lambda: pair(0, "strides", "Conv2D"), "Conv2D: strides must be at least 1; got 0"),
    ],
)
def test_wrong_settings_name_the_argument_and_the_fix(make, message):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert message in str(caught.value)


def test_a_frozen_object_cannot_be_changed():
    with pytest.raises(AttributeError):
        Scale().factor = 3.0


def test_suggest_ignores_case():
    assert suggest("RELU", ["relu"]) == " Did you mean 'relu'?"
