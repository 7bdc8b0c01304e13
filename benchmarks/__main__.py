"""Times kjax and its peers side by side and writes the report.

python -m benchmarks --quick
"""

import argparse
import pathlib
import sys
import time

from benchmarks import accelerator, kernels, measure, pages, profile, report, results, scaling, startup
from benchmarks.instructions import SETTINGS
from benchmarks.peers import PEERS
from benchmarks.workloads import WORKLOADS

HERE = pathlib.Path(__file__).resolve().parent
QUICK_WORKLOADS, QUICK_PEERS = ["mnist_mlp"], ["kjax", "raw", "keras-jax"]


def main() -> None:
    options = parse()
    path = options.output.with_name("results.json")
    for part in () if options.report_only else parts(options):
        results.save(path, results.merged(results.load(path), part))
        report.write(options.output, results.load(path))
    report.write(options.output, results.load(path))
    print(f"written: {options.output}")


def parts(options: argparse.Namespace):
    """The parts of the results, each as soon as it is there, so that a run that is broken off leaves some."""
    alone = [part for name, part in ALONE.items() if getattr(options, name)]
    if alone:
        yield from alone[0](options)
        return
    for name in options.workloads:
        arguments = name, options.peers, options.rounds, options.steps, options.check, log
        figures = measure.workload(*arguments, SETTINGS.get(options.instructions))
        yield {options.instructions or "workloads": {name: results.stamped(figures)}}
    if options.startup:
        yield started(startup.all_measures(options.peers, options.rounds, options.steps, log))
        yield from profiles(options)
    if options.everything:
        yield from kept_pages(options)
        yield from kernel_times(options)
        yield from curves(options)


def started(measures):
    """The part of the results that measures of `startup` are."""
    return {"startup": {name: results.stamped({"seconds": seconds}) for name, seconds in measures.items()}}


def curves(options: argparse.Namespace):
    for axis in scaling.AXES:
        sizes = scaling.along(axis, options.rounds, log, bool(options.steps))
        yield {"scaling": {axis: results.stamped({"sizes": sizes})}}


def kept_pages(options: argparse.Namespace):
    for name in pages.NAMES:
        kinds = pages.workload(name, options.rounds, options.steps, log)
        yield {"pages": {name: results.stamped({"kinds": kinds})}}


def kernel_times(options: argparse.Namespace):
    for family, cases in kernels.measured(log).items():
        yield {"kernels": {family: results.stamped({"cases": cases})}}


def on_accelerator(options: argparse.Namespace):
    for network in options.workloads:
        arguments = options.peers, options.rounds, options.steps, options.check, log
        for name, figures in accelerator.network(network, *arguments):
            yield {"accelerator": {name: results.stamped(figures)}}


def profiles(options: argparse.Namespace):
    for name in options.workloads:
        yield {"profiles": {name: results.stamped(profile.workload(name, options.steps, log))}}


def single_calls(options: argparse.Namespace):
    yield started(startup.single_calls(options.peers, options.rounds, log))


ALONE = {"scaling": curves, "calls": single_calls, "profile": profiles, "kernels": kernel_times}
ALONE |= {"pages": kept_pages, "accelerator": on_accelerator}
"""Options that ask for one part and nothing else."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__.splitlines()[0])
    chosen = parser.add_argument
    chosen("--quick", action="store_true", help="one workload and two peers, in a few minutes")
    chosen("--workloads", type=names(WORKLOADS), help=f"some of {','.join(WORKLOADS)}, or none")
    chosen("--peers", type=names(PEERS), help=f"some of {','.join(PEERS)}; raw, the yardstick, is always there")
    chosen("--rounds", type=int, default=3, help="alternated rounds of measurements (default 3)")
    chosen("--steps", type=int, help="steps of a measurement, to try the suite out; the figures are worth little")
    chosen("--no-check", dest="check", action="store_false", help="do not compare the first losses")
    chosen("--no-startup", dest="startup", action="store_false", help="only training speed, no profiles")
    chosen("--profile", action="store_true", help="only where the time of kjax's steps goes, by kind of operation")
    chosen("--calls", action="store_true", help="only single calls: predict of one row, train_on_batch")
    chosen("--pages", action="store_true", help="only what it gains and costs to keep pages between steps")
    chosen("--kernels", action="store_true", help="only each kernel on CPU against XLA's own operation")
    chosen("--everything", action="store_true", help="kept pages, kernels and scaling curves as well, after all else")
    chosen("--scaling", action="store_true", help="only the scaling curves")
    chosen("--instructions", choices=list(SETTINGS), help="only training speed, of peers that do with these")
    chosen("--accelerator", action="store_true", help="only on a GPU or TPU, with batches that fill it")
    chosen("--report-only", action="store_true", help="write the report from results.json; measure nothing")
    chosen("--output", type=pathlib.Path, default=HERE / "README.md", help="the report; the other files lie beside it")
    options = parser.parse_args()
    options.startup &= not (options.quick or options.instructions)
    options.workloads = options.workloads or (QUICK_WORKLOADS if options.quick else list(WORKLOADS))
    options.peers = with_yardstick(options.peers or (QUICK_PEERS if options.quick else list(PEERS)))
    options.workloads = [] if options.workloads == ["none"] else options.workloads
    return options


def with_yardstick(peers: list[str]) -> list[str]:
    return [*peers, *([] if measure.YARDSTICK in peers else [measure.YARDSTICK])]


def names(known):
    """Reads a list of names with commas between them."""

    def read(text: str) -> list[str]:
        wanted = text.split(",")
        unknown = [name for name in wanted if name not in [*known, "none"]]
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose among {', '.join(known)}")
        return wanted

    return read


def log(text: str) -> None:
    """A line with the time since the start, to the error stream."""
    print(f"[{time.perf_counter() - BEGAN:6.0f} s] {text}", file=sys.stderr, flush=True)


BEGAN = time.perf_counter()

if __name__ == "__main__":
    main()
