"""Writes the report and its pictures from the raw figures. Nothing in it is typed."""

import pathlib
import statistics
import tomllib
from functools import partial
from typing import Any

from benchmarks import accelerator, figures, kernels, pages, picture, profile
from benchmarks.figures import OURS, Spread
from benchmarks.instructions import SETTINGS
from benchmarks.measure import TOLERANCE
from benchmarks.peers import PEERS, YARDSTICK
from benchmarks.startup import FIRST_EPOCH, ORDERS, SINGLE_CALLS
from benchmarks.tables import cell, described, number, range_of, table
from benchmarks.workloads import WORKLOADS, find

NOTES = pathlib.Path(__file__).with_name("notes.toml")
MEASURES = {
    "predict": ("`predict` of one row, tiny MLP", 1e3, "ms"),
    "train_on_batch": ("`train_on_batch`, tiny MLP", 1e3, "ms"),
    "import": ("import", 1, "s"),
    "first_epoch_cold": ("process start to the end of the first epoch, MNIST MLP", 1, "s"),
    "first_epoch_warm": ("the same, compiled programs cached", 1, "s"),
}
TURNS = """\
Calls are made in a process for each peer, where they take the shorter or the longer of two times as XLA's threads
happen to be awake. So against the jitted call, below, kjax and raw JAX take turns in one process, in short blocks of
calls on the same arrays.
"""
OWN = {"pages": pages, "kernels": kernels}
"""Modules that write their part of the report themselves, by its name in the results."""
TITLES = ["", *[info.title for info in PEERS.values()]]
HOW = f"""# Benchmarks

kjax and what its users would pick instead, each written as its own users write it, on the same networks, data, batch
sizes, first weights, loss and optimizer. Everything below is written by the command; nothing is typed.

```
make bench ARGS="--everything"                    # its own virtual environment, and everything below
make bench                                        # without kept pages, kernels, scaling curves
make bench ARGS="--quick"                         # one workload, two peers, a few minutes
python -m benchmarks --workloads mnist_cnn        # in an environment with requirements.txt and kjax
python -m benchmarks --scaling                    # the curves
python -m benchmarks --accelerator                # on a GPU or TPU, which these others leave alone
python -m benchmarks --instructions avx2          # speed as on a processor without AVX-512
python -m benchmarks --calls                      # single calls
python -m benchmarks --pages                      # what keeping pages between steps gains and costs
python -m benchmarks --kernels                    # each kernel on CPU against XLA's own operation
python -m benchmarks --profile                    # where the time of kjax's steps goes
python -m benchmarks --report-only                # this page again from results.json
```

A run with some workloads or measures leaves the figures of the others as they are; `--help` lists the options.

## How it is measured

- One process for each peer and workload. All are built first and warmed up by one epoch. Then they take turns, in an
  order that rotates from round to round; those that wait are asleep. One measurement is an epoch (one `fit` for kjax
  and Keras, the usual loop for the others), which is as many steps for all.
- Figures are medians over the rounds, ranges are the least and the most. Ratios are taken within each round, so that
  what slows the machine down slows both sides.
- The same work: with dropout off and rows in order, the losses of the first five steps agree with raw JAX's to
  {TOLERANCE:g} (relative). A peer that differs is marked with ≠. PyTorch and optax put Adam's epsilon elsewhere than
  Keras and kjax do, which is most of the difference that remains.
- Raw JAX is written by hand, without a framework and without kjax's lowerings: one jitted step per batch with its state
  donated, XLA's own convolution, `jax.random` for dropout. It is the yardstick of a framework's overhead and not
  counted among the peers.
- The share of peak: the operations of the network's matrix products and convolutions, forward and backward, over the
  time, as a part of what a product of two 2048×2048 float32 matrices reaches in the same run.
- `torch.compile` compiles the module, PyTorch uses channels-last images and Adam's fused form, Flax keeps its graph
  cached (`nnx.cached_partial`), Equinox donates its state: the faster of what their documentation offers. Keras runs
  with one JAX or TensorFlow step per execution, its default.
"""


def write(path: pathlib.Path, results: dict[str, Any]) -> None:
    """The report, and the pictures beside it."""
    parts = [HOW, conditions(results)]
    if results.get("workloads"):
        picture.speed(path.with_name("speed.png"), ordered(results["workloads"]))
        parts += [speed(results), targets(results), memory(results)]
    parts += [limited(level, results[level]) for level in SETTINGS if results.get(level)]
    if results.get("profiles"):
        parts.append(profiles(results["profiles"]))
    if results.get("startup"):
        parts.append(startup(results["startup"]))
    parts += [part.section(results[name]) for name, part in OWN.items() if results.get(name)]
    if results.get("accelerator"):
        parts.append(on_accelerator(results["accelerator"]))
    if results.get("scaling"):
        picture.scaling(path.with_name("scaling.png"), results["scaling"])
        parts.append(scaling(results["scaling"]))
    path.write_text("\n".join(parts))


def ordered(workloads: dict[str, Any]) -> dict[str, Any]:
    """The workloads in the order of `WORKLOADS`."""
    return {name: workloads[name] for name in WORKLOADS if name in workloads}


def conditions(results: dict[str, Any]) -> str:
    measured = [one for part, found in results.items() if part != "accelerator" for one in found.values()]
    days = sorted({one["date"] for one in measured})
    machines = sorted({described(m["machine"]) for m in measured})
    versions = ", ".join(f"{name} {version}" for name, version in sorted(figures.versions(results).items()))
    devices = "; ".join(sorted({one["device"] for one in measured if one.get("device")}))
    days = " to ".join(sorted({days[0], days[-1]})) if days else ""
    text = f"Measured on {days}; {'; '.join(machines)}; JAX's device: {devices or 'not noted'}; float32. {versions}.\n"
    return text + quiet(results.get("workloads", {})) if days else ""


def quiet(workloads: dict[str, Any]) -> str:
    """How much else ran on the machine during the measurements of speed, and what the waiting peers took."""
    watched = {name: w["others"] for name, w in workloads.items() if w.get("others")}
    if not watched:
        return ""
    shares = [share for found in watched.values() for share in found]
    idle = max(workloads[name]["idle"] for name in watched)
    return (
        f"While a peer was timed, all else on the machine took {statistics.median(shares):.0%} of it (median; at most\n"
        f"{max(shares):.0%}); a peer that waited took at most {idle:.2f} s of processor time between two turns.\n"
    )


def speed(results: dict[str, Any]) -> str:
    workloads = ordered(results["workloads"])
    rows = [[WORKLOADS[name].title, *[cell(w, peer) for peer in PEERS]] for name, w in workloads.items()]
    text = "Milliseconds per training step, median (least–most). The fastest peer is bold; raw JAX is not one.\n"
    why = sorted(
        {
            (PEERS[p].title, WORKLOADS[n].title, f["failed"])
            for n, w in workloads.items()
            for p, f in w["peers"].items()
            if "failed" in f
        }
    )
    failures = "".join(f"- {peer} does not run on {title}: {reason}\n" for peer, title, reason in why)
    picture_line = "![time per step relative to kjax](speed.png)"
    return f"## Speed of training\n\n{picture_line}\n\n{text}\n{table(TITLES, rows)}\n{failures}{marks(workloads)}"


def marks(workloads: dict[str, Any]) -> str:
    """What `notes.toml` says of losses that differ."""
    known = tomllib.loads(NOTES.read_text())
    marked = [name for name, w in workloads.items() if any(map(partial(figures.differs, w), w["peers"]))]
    told = {name: known.get(f"{name} differs", "").strip() for name in marked}
    return "".join(f"- ≠ {WORKLOADS[name].title}: {why}\n" for name, why in told.items() if why)


def targets(results: dict[str, Any]) -> str:
    workloads = ordered(results["workloads"])
    header = ["", "kjax / best peer", "which", "kjax / raw JAX", "share of peak", "best peer's", "rounds", "target"]
    rows = [[WORKLOADS[name].title, *against(w), judged(name, w)] for name, w in workloads.items()]
    text = "Below 1, kjax is faster. Wanted: at most 1.0 times the best peer (0.8 on the tiny MLP, the MNIST MLP, the\n"
    text += f"MNIST CNN and the character GPT), at most {figures.YARDSTICK_TARGET} times raw JAX.\n"
    return f"## Against the best\n\n{text}\n{table(header, rows)}\n{notes(workloads)}"


def judged(name: str, workload: dict[str, Any]) -> str:
    return "missed" if figures.missed(name, workload) else "met"


def against(workload: dict[str, Any]) -> list[str]:
    best = figures.best_peer(workload)
    shares = [figures.share_of_peak(workload, peer) if peer else None for peer in (OURS, best)]
    ratios = [range_of(figures.ratio(workload, peer)) for peer in (best, YARDSTICK)]
    percent = ["–" if share is None else f"{share:.0%}" for share in shares]
    return [ratios[0], PEERS[best].title if best else "–", ratios[1], *percent, str(workload["rounds"])]


def notes(workloads: dict[str, Any], suffix: str = "") -> str:
    """Where targets are missed: by how much, and what `notes.toml` says about why."""
    known = tomllib.loads(NOTES.read_text())
    missed = {name: figures.missed(name, w) for name, w in workloads.items()}
    lines = [
        f"- **{WORKLOADS[name].title}** takes {'; '.join(m)}. {known.get(name + suffix, '').strip()}"
        for name, m in missed.items()
        if m
    ]
    return "\n".join(line.rstrip() for line in ["Where a target is missed:", "", *lines, ""]) if lines else ""


def limited(level: str, found: dict[str, Any]) -> str:
    """Speed on a processor with fewer instructions."""
    workloads, title = ordered(found), level.upper()
    rows = [
        [WORKLOADS[n].title, *[cell(w, peer) for peer in PEERS], *against(w)[:3], judged(n, w)]
        for n, w in workloads.items()
    ]
    header = [*TITLES, "kjax / best peer", "which", "kjax / raw JAX", "target"]
    text = f"""Milliseconds per training step, median (least–most), where all are told to do with {title}, as most
laptops' processors must: `--instructions {level}`. The targets are those above. {wider(workloads)}
"""
    return f"## With {title} alone\n\n{text}\n{table(header, rows)}\n{notes(workloads, f'@{level}')}"


def wider(workloads: dict[str, Any]) -> str:
    """Who went beyond what all were told, as the system saw it."""
    ran = [(peer, own.get("avx512")) for w in workloads.values() for peer, own in w["peers"].items()]
    titles = [info.title for peer, info in PEERS.items() if (peer, True) in ran]
    if not titles:
        return "No thread used AVX-512." if (OURS, False) in ran else "Whether they did is not known here."
    own = "YNNPACK, XLA's library of matrix products, asks the processor itself and can't be told."
    return f"""By what the
system notes of each thread, AVX-512 was used all the same in {", ".join(titles)}.
{own if all(PEERS[peer].on_jax for peer, used in ran if used) else ""}"""


def memory(results: dict[str, Any]) -> str:
    peaks = figures.memory({"workloads": ordered(results["workloads"])})
    rows = [[WORKLOADS[name].title, *[f"{m[p]:.0f}" if p in m else "–" for p in PEERS]] for name, m in peaks.items()]
    text = "Megabytes resident at the peak; the interpreter, the data and compiling included."
    goals = figures.memory_goals({"workloads": ordered(results["workloads"])})
    for row, name in zip(rows, peaks, strict=True):
        goal = goals.get(name)
        row.append(f"{number(goal.value.median)} of {goal.title}: {verdict(goal)}" if goal else "–")
    header = [*TITLES, "kjax / smallest peer on JAX, wanted 1"]
    return f"## Peak memory\n\n{text}\n\n{table(header, rows)}"


def verdict(goal: figures.Goal) -> str:
    return "met" if goal.met else "missed"


def profiles(found: dict[str, Any]) -> str:
    """Where the time of kjax's steps goes."""
    told = {name: found[name] for name in WORKLOADS if "kinds" in found.get(name, {})}
    header = ["", "ms per step", *profile.ALL_KINDS]
    rows = [
        [WORKLOADS[n].title, number(p["ms"]), *[f"{p['kinds'][kind] / p['ms']:.0%}" for kind in profile.ALL_KINDS]]
        for n, p in told.items()
    ]
    lines = [f"- {WORKLOADS[n].title}: {longest(p)}\n" for n, p in told.items()]
    lines += [f"- {WORKLOADS[n].title}: not known, {p['failed']}\n" for n, p in found.items() if "failed" in p]
    text = "Shares of kjax's step by kind of operation, from a trace of XLA's CPU runtime, which slows steps down. An\n"
    text += "operation's time is that in which threads work on it, the tasks it handed to others included; while they\n"
    text += "work on several it is divided among these. A fusion counts as the first of these kinds that it contains;\n"
    text += "convolutions and products in C are among the others, and what else is in C (attention, loops over\n"
    text += f"time, norms, rows) has a column; *{profile.BETWEEN}* is loops, dispatch and waiting. Below, the longest\n"
    text += "single ones, kjax's with the kernel's name.\n"
    return f"## Where the time goes\n\n{text}\n{table(header, rows) if rows else ''}\n{''.join(lines)}"


def longest(found: dict[str, Any]) -> str:
    return "; ".join(
        f"`{name.partition('/')[2]}` ({kind}) {number(ms)} ms in {number(count)} runs a step"
        if count >= 1.5
        else f"`{name.partition('/')[2]}` ({kind}) {number(ms)} ms"
        for name, kind, count, ms in found["top"]
    )


def startup(measures: dict[str, Any]) -> str:
    header = [*TITLES, "kjax / raw JAX"]
    rows = []
    for name, (title, scale, unit) in MEASURES.items():
        seconds = measures.get(name, {}).get("seconds", {})
        cells = [range_of(figures.spread([scale * s for s in seconds[p]]) if seconds.get(p) else None) for p in PEERS]
        rows.append([f"{title}, {unit}", *cells, range_of(to_yardstick(seconds))])
    text = f"Single calls on the network of `{SINGLE_CALLS}`, first epochs on `{FIRST_EPOCH}`: median (least–most).\n"
    text += "Imports and first epochs in fresh processes.\n"
    text += TURNS
    goals = [[g.title, range_of(g.value), f"{g.limit:g}", verdict(g)] for g in figures.startup_goals(measures)]
    judged = table(["", "", "wanted at most", "target"], goals) if goals else ""
    return f"## Single calls and start-up\n\n{text}\n{table(header, rows)}\n{judged}{call_notes(measures)}"


def call_notes(measures: dict[str, Any]) -> str:
    """What `notes.toml` says of single calls that take longer than is wanted."""
    known = tomllib.loads(NOTES.read_text())
    goals = {o: figures.call_goal(o, measures.get(figures.in_turns(o), {}).get("seconds", {})) for o in ORDERS}
    return "".join(f"\n`{o}`: {known.get(o, '').strip()}\n" for o, goal in goals.items() if goal and not goal.met)


def on_accelerator(found: dict[str, Any]) -> str:
    """Both precisions of each network on a GPU or TPU."""
    names = [f"{name}@{precision}" for name in WORKLOADS for precision in accelerator.PRECISIONS]
    told = {name: found[name] for name in names if name in found}
    header = ["", "", *[PEERS[p].title for p in accelerator.PEERS], "kjax / raw JAX", "target", "kjax / best peer"]
    rows = table([*header, "share of peak", "MB, kjax", "MB, raw JAX"], [device_row(n, told) for n in told])
    return f"## On an accelerator\n\n{about_accelerator(told)}\n{rows}\n{device_notes(told)}"


def about_accelerator(told: dict[str, Any]) -> str:
    chips = " and ".join(sorted({w["device"] for w in told.values()}))
    hosts = " and ".join(sorted({described(w["machine"]) for w in told.values()}))
    days = " to ".join(sorted({min(w["date"] for w in told.values()), max(w["date"] for w in told.values())}))
    versions = ", ".join(f"{name} {version}" for name, version in sorted(figures.versions({"workloads": told}).items()))
    return f"""Measured on {days}; {chips}; {hosts}. {versions}.
Milliseconds per step, median (least–most), of batches that fill the chip; the data lies on it for all. Raw JAX's
step is sent the numbers of its rows and gathers them itself. float32 products are rounded to TF32 by all, JAX's
default; bfloat16 is mixed: weights, norms, softmax, losses and Adam are float32. The share of peak is that of a
product of two {accelerator.PEAK_SIZE}×{accelerator.PEAK_SIZE} matrices in the same precision, the best of the run. \
Wanted: at most {figures.DEVICE_TARGET} times raw JAX.
"""


def device_row(name: str, told: dict[str, Any]) -> list[str]:
    workload, precision = told[name], find(name).precision
    peak = max(w["peak_flops"] for other, w in told.items() if find(other).precision == precision)
    cells = [cell(workload, peer) for peer in accelerator.PEERS]
    ratio, share = figures.ratio(workload, YARDSTICK), figures.share_of_peak({**workload, "peak_flops": peak}, OURS)
    best = range_of(figures.ratio(workload, figures.best_peer(workload)))
    taken = [figures.device_megabytes(workload, peer) for peer in (OURS, YARDSTICK)]
    judged = [range_of(ratio), "missed" if figures.misses_on_device(workload) else "met", best]
    shown = ["–" if share is None else f"{share:.0%}", *["–" if t is None else number(t) for t in taken]]
    return [find(name).title, precision, *cells, *judged, *shown]


def device_notes(told: dict[str, Any]) -> str:
    """Where raw JAX is faster by more than is wanted: by how much, and why."""
    known = tomllib.loads(NOTES.read_text())
    missed = {name: figures.ratio(w, YARDSTICK) for name, w in told.items() if figures.misses_on_device(w)}
    return "".join(
        f"- **{find(name).title}** in {find(name).precision} takes {ratio.median:.3f} times raw JAX, wanted "
        f"{figures.DEVICE_TARGET}. {known.get(name, '').strip()}\n"
        for name, ratio in missed.items()
        if ratio
    )


def to_yardstick(seconds: dict[str, list[float]]) -> Spread | None:
    """kjax's figure over raw JAX's, round by round."""
    return figures.quotient(seconds.get(OURS), seconds.get(YARDSTICK))


def scaling(axes: dict[str, Any]) -> str:
    text = "A multilayer perceptron of 256 inputs, 2 layers of 256 units and 10 classes, batch 128, along one axis.\n"
    text += "Compiling is what the first epoch, building included, takes beyond another one.\n"
    tables = [f"### {axis.replace('_', ' ').capitalize()}\n\n{curve(axes[axis]['sizes'])}" for axis in axes]
    return f"## Scaling\n\n{text}\n![time per step and memory](scaling.png)\n\n" + "\n".join(tables)


def curve(sizes: dict[str, Any]) -> str:
    """The table of one axis."""
    names = list(next(iter(sizes.values())))
    wanted = (
        ("ms/step", lambda f: number(figures.spread(f["ms"]).median)),
        ("compile s", lambda f: f"{f['compile']:.2f}"),
    )
    wanted += (("MB", lambda f: f"{f['bytes'] / 2**20:.0f}"),)
    header = ["", *[f"{PEERS[name].title}, {what}" for what, _ in wanted for name in names]]
    rows = [
        [size, *[show(sizes[size][n]) if n in sizes[size] else "–" for _, show in wanted for n in names]]
        for size in sorted(sizes, key=int)
    ]
    return table(header, rows)
