"""Which operation a trace's time is charged to; the traces are made up, but for one."""

import jax
import pytest

from benchmarks import profile

PROGRAM = """HloModule jit_train

%inner (a: f32[2]) -> f32[2] {
  %a = f32[2]{0} parameter(0)
  ROOT %dot.1 = f32[2]{0} dot(%a, %a), lhs_contracting_dims={0}
}

%moved (b: f32[2]) -> (f32[2], f32[2]) {
  %b = f32[2]{0} parameter(0)
  %copied = f32[2]{0} copy(%b)
  ROOT %pair = (f32[2]{0}, /*index=1*/f32[2]{0}) tuple(%copied, %b)
}

ENTRY %main (p: f32[2]) -> f32[2] {
  %p = f32[2]{0} parameter(0)
  %ynn_fusion = f32[2]{0} fusion(%p), kind=kCustom, calls=%inner
  %both_fusion = (f32[2]{0}, /*index=1*/f32[2]{0}) fusion(%p), kind=kLoop, calls=%moved
  %ffi_call.7 = f32[2]{0} custom-call(%p), custom_call_target="kjax_conv_relu_kernels_linux_x86_64_v4_0", metadata={}
  %ffi_call.8 = f32[2]{0} custom-call(%p), custom_call_target="kjax_attention_kernels_linux_x86_64_v4_0", metadata={}
  %conv.3 = f32[2]{0} convolution(%p, %p), window={size=1}
  ROOT %add.2 = f32[2]{0} add(%p, %ynn_fusion)
}
"""


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("ynn_fusion", "matrix products"),
        ("both_fusion", "copies"),
        ("conv.3", "convolutions"),
        ("ffi_call.7", "convolutions"),
        ("ffi_call.8", "other kernels in C"),
        ("add.2", "elementwise"),
    ],
)
def test_an_operation_is_named_after_what_it_contains(name, kind):
    assert profile.kinds_in(PROGRAM)[name] == kind


def test_a_call_of_a_kernel_is_told_by_the_kernels_name():
    assert profile.kernels_in(PROGRAM) == {"ffi_call.7": "conv_relu", "ffi_call.8": "attention"}


def op(thread, name, began, ended):
    return profile.Event(thread, name, began, ended, {"hlo_module": "m", "hlo_op": name})


def runs(thread, began, ended):
    return profile.Event(thread, "ThunkExecutor::Execute", began, ended)


def hands(thread, task, at):
    return profile.Event(thread, profile.HAND_OVER, at, at, {"_p": task})


def does(thread, task, began, ended):
    return [
        profile.Event(thread, profile.START, began, began, {"_c": task}),
        profile.Event(thread, profile.STOP, ended, ended),
    ]


@pytest.mark.parametrize(
    ("events", "own"),
    [
        # what follows one another takes its time; what runs at once halves it; a pause is nobody's
        ([op("a", "x", 0, 4), op("a", "y", 4, 5), op("a", "x", 7, 8)], {"x": 5, "y": 1}),
        ([op("a", "x", 0, 4), op("b", "y", 2, 6)], {"x": 3, "y": 3}),
        # a loop only runs others
        ([op("a", "while.1", 0, 9), op("a", "x", 1, 3)], {"x": 2}),
        # begun in one thread, which is done at 2, ended by another one's task at 6
        ([op("a", "x", 0, 2), hands("a", 1, 1), *does("b", 1, 1.5, 6)], {"x": 6}),
        # the other one then runs the rest of the step before it notes that x has ended
        (
            [op("a", "x", 0, 2), hands("a", 1, 1), *does("b", 1, 1.5, 20)]
            + [runs("b", 6, 18), op("b", "y", 7, 10), op("b", "z", 10, 18), profile.Event("b", "end: x", 18, 18.5)],
            {"x": 6, "y": 3, "z": 8},
        ),
        # the rest without a note that it begins
        ([op("a", "x", 0, 2), hands("a", 1, 1), *does("b", 1, 1.5, 20), op("b", "y", 6, 19)], {"x": 6, "y": 13}),
        # a task waits while its thread does something else: only the work counts
        ([op("a", "x", 0, 1), hands("a", 1, 0.5), op("b", "y", 0, 8), *does("b", 1, 8, 9)], {"x": 1.5, "y": 7.5}),
        # a task of a task
        ([op("a", "x", 0, 1), hands("a", 1, 0), *does("b", 1, 1, 2), hands("b", 2, 1), *does("a", 2, 2, 4)], {"x": 4}),
        # a thread helps with another operation's task inside of its own; a task that no operation handed over
        ([op("a", "x", 0, 1), hands("a", 1, 0.5), op("b", "y", 2, 9), *does("b", 1, 4, 6)], {"x": 3, "y": 5}),
        ([*does("b", 7, 0, 5), op("b", "x", 1, 2)], {"x": 1}),
        # too short to tell
        ([op("a", "x", 0, 0), op("a", "y", 1, 2)], {"y": 1}),
    ],
)
def test_an_operation_takes_the_time_in_which_threads_work_on_it(events, own):
    assert profile.own_times(events) == {f"m/{name}": pytest.approx(time) for name, time in own.items()}


def test_a_trace_of_jax_notes_operations_and_tasks_by_these_names(tmp_path):
    product = jax.jit(lambda x: x @ x)
    x = jax.block_until_ready(product(jax.numpy.ones((64, 64))))
    with jax.profiler.trace(str(tmp_path)):
        for _ in range(8):  # the last ones may not be noted in full
            jax.block_until_ready(product(x))
    events = list(profile.recorded(next(tmp_path.glob("**/*.xplane.pb"))))
    assert {e.notes["_p"] for e in events if e.name == profile.HAND_OVER} & {
        e.notes["_c"] for e in events if e.name == profile.START
    }
    assert profile.STOP in {e.name for e in events}
    assert any(operation.partition("/")[0].startswith("jit_") for operation in profile.own_times(events))


def test_what_no_operation_takes_is_between_them():
    told = profile.told({"m/a": ("copies", 4, 3000.0), "m/b": ("reductions", 2, 1000.0)}, 6000.0, 2)
    assert told["kinds"][profile.BETWEEN] == 1.0
    assert sum(told["kinds"].values()) == told["ms"] == 3.0
    assert told["top"][0] == ["m/a", "copies", 2.0, 1.5]


def test_a_trace_without_operations_says_so():
    assert "no events" in profile.told({}, 1.0, 1)["failed"]
