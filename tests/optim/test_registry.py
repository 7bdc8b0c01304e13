"""Optimizers as users make them: by name, by Keras 2's arguments, and what is refused."""

import inspect

import pytest

from kjax import optim, optimizers
from kjax.optim import SGD, Adadelta, Adagrad, Adam, Adamax, AdamW, Lion, Nadam, RMSprop


def public_classes():
    classes = [value for value in vars(optim).values() if inspect.isclass(value)]
    return [cls for cls in classes if issubclass(cls, optim.Optimizer) and cls is not optim.Optimizer]


def test_keras_has_the_same_names():
    names = {name for name in vars(optim) if inspect.isclass(getattr(optim, name)) and name != "OptState"} | {"get"}
    assert {name: getattr(optimizers, name) for name in names} == {name: getattr(optim, name) for name in names}


def test_get():
    for cls in public_classes():
        for name in (cls.__name__, cls.__name__.lower(), cls.__name__.upper()):
            assert optim.get(name) == cls()
        assert optim.get(cls) == cls()
    optimizer = SGD(0.5)
    assert optim.get(optimizer) is optimizer
    with pytest.raises(ValueError, match=r"unknown optimizer 'adm'\. Did you mean 'Adam'\?"):
        optim.get("adm")
    for wrong in (None, 0.1, len, dict, {"class_name": "SGD"}):
        with pytest.raises(TypeError, match="an optimizer is a name such as 'adam'"):
            optim.get(wrong)


def test_settings_are_as_in_keras_2():
    assert SGD(0.1, 0.2, 0.3, True) == SGD(lr=0.1, momentum=0.2, decay=0.3, nesterov=True)
    assert RMSprop(0.1, 0.2, 0.3, 0.4) == RMSprop(lr=0.1, rho=0.2, epsilon=0.3, decay=0.4)
    assert Adagrad(0.1, 0.2, 0.3) == Adagrad(lr=0.1, epsilon=0.2, decay=0.3)
    assert Adadelta(0.1, 0.2, 0.3, 0.4) == Adadelta(lr=0.1, rho=0.2, epsilon=0.3, decay=0.4)
    assert Adam(0.1, 0.2, 0.3, 0.4, 0.5, True) == Adam(
        lr=0.1, beta_1=0.2, beta_2=0.3, epsilon=0.4, decay=0.5, amsgrad=True
    )
    assert Adamax(0.1, 0.2, 0.3, 0.4, 0.5) == Adamax(lr=0.1, beta_1=0.2, beta_2=0.3, epsilon=0.4, decay=0.5)
    assert Nadam(0.1, 0.2, 0.3, 0.4, 0.5) == Nadam(lr=0.1, beta_1=0.2, beta_2=0.3, epsilon=0.4, schedule_decay=0.5)
    assert SGD() == SGD(0.01, 0.0, 0.0, False)
    assert RMSprop() == RMSprop(0.001, 0.9, 1e-6, 0.0)
    assert Adagrad() == Adagrad(0.01, 1e-6, 0.0)
    assert Adadelta() == Adadelta(1.0, 0.95, 1e-6, 0.0)
    assert Adam() == Adam(0.001, 0.9, 0.999, 1e-8, 0.0, False)
    assert Adamax() == Adamax(0.002, 0.9, 0.999, 1e-8, 0.0)
    assert Nadam() == Nadam(0.002, 0.9, 0.999, 1e-8, 0.004)
    assert AdamW() == AdamW(0.001, 0.004, 0.9, 0.999, 1e-7, False)
    assert Lion() == Lion(0.001, 0.9, 0.99, weight_decay=0.0) == Lion(weight_decay=None)
    assert Adam(epsilon=None).epsilon == 1e-7


REFUSED = [
    (lambda: SGD(-0.1), ValueError, r"SGD: lr must be in \[0, inf\); got -0.1"),
    (lambda: SGD(float("nan")), ValueError, r"SGD: lr must be in \[0, inf\); got nan"),
    (lambda: SGD("0.01"), TypeError, "SGD: lr must be a number or a function of the step; got '0.01'"),
    (lambda: SGD(None), TypeError, "SGD: lr must be a number or a function of the step; got None"),
    (lambda: SGD([0.1]), TypeError, r"SGD: lr must be a number or a function of the step; got \(0.1,\)"),
    (lambda: SGD(True), TypeError, "SGD: lr must be a number or a function of the step; got True"),
    (lambda: SGD(momentum=1), ValueError, r"SGD: momentum must be in \[0, 1\); got 1.0"),
    (lambda: SGD(momentum=-0.1), ValueError, r"SGD: momentum must be in \[0, 1\); got -0.1"),
    (lambda: SGD(momentum=len), TypeError, "SGD: momentum must be a number; got "),
    (lambda: SGD(decay=-1), ValueError, r"SGD: decay must be in \[0, inf\); got -1.0"),
    (lambda: SGD(0.1, 0.9, True), TypeError, "SGD: decay must be a number; got True"),
    (lambda: SGD(nesterov=0.9), TypeError, "SGD: nesterov must be True or False; got 0.9"),
    (lambda: Adam(amsgrad="yes"), TypeError, "Adam: amsgrad must be True or False; got 'yes'"),
    (lambda: RMSprop(rho=1.0), ValueError, r"RMSprop: rho must be in \[0, 1\); got 1.0"),
    (lambda: Adadelta(rho=-0.5), ValueError, r"Adadelta: rho must be in \[0, 1\); got -0.5"),
    (lambda: Adagrad(epsilon=-1e-6), ValueError, r"Adagrad: epsilon must be in \[0, inf\); got -1e-06"),
    (lambda: Adam(beta_1=1), ValueError, r"Adam: beta_1 must be in \[0, 1\); got 1.0"),
    (lambda: Adamax(beta_2=1.5), ValueError, r"Adamax: beta_2 must be in \[0, 1\); got 1.5"),
    (lambda: Nadam(schedule_decay=-1), ValueError, r"Nadam: schedule_decay must be in \[0, inf\); got -1.0"),
    (lambda: AdamW(weight_decay=-1), ValueError, r"AdamW: weight_decay must be in \[0, inf\); got -1.0"),
    (lambda: Lion(weight_decay="1"), TypeError, "Lion: weight_decay must be a number; got '1'"),
    (lambda: SGD(clipnorm=0), ValueError, "SGD: clipnorm must be positive, or None for no clipping; got 0.0"),
    (lambda: SGD(clipvalue=-1), ValueError, "SGD: clipvalue must be positive, or None for no clipping; got -1.0"),
    (lambda: SGD(global_clipnorm="1"), TypeError, "SGD: global_clipnorm must be a number or None; got '1'"),
    (lambda: SGD(clipnorm=1, global_clipnorm=1), ValueError, "SGD: give clipnorm .* or global_clipnorm .*, not both"),
    (lambda: SGD(lr=0.1, learning_rate=0.1), TypeError, "SGD: learning_rate is another name of lr: give one of them"),
    (lambda: SGD().replace(lr=0.1, learning_rate=0.1), TypeError, "SGD: learning_rate is another name of lr"),
    (lambda: SGD().replace(lr=-1), ValueError, r"SGD: lr must be in \[0, inf\)"),
    (lambda: SGD(momentun=0.9), TypeError, "SGD has no argument 'momentun'. Did you mean 'momentum'?"),
    (lambda: SGD(0.1, 0.9, 0.0, False, 1.0), TypeError, "SGD takes"),
    (lambda: optim.Optimizer().update(1.0, optim.Optimizer().init(1.0), 1.0), NotImplementedError, "defines no rule"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), REFUSED, ids=[row[2] for row in REFUSED])
def test_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
