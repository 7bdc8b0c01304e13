"""Damages saved models in all ways and loads them: each is refused by a `ValueError`, or is still a model.

    python tests/reliability/fuzz_saving.py [mutations] [seed]

A quarter each of flipped bits, cuts, pieces of the file moved about, and changed JSON in a file that is else whole.
"""

import collections
import copy
import json
import math
import pathlib
import random
import resource
import struct
import sys
import tempfile
import time

import kjax
from kjax import nn
from kjax.schema import known

GIB = 2**30
NASTY = [
    None, True, -1, 0, 1, 2**31, 2**63, 10**40, 0.5, -0.0, 1e308, "", "a", "x" * 5000, "same", "float64", [], {}, [[]],
    [10**9, 10**9], {"float": "nan"}, {"float": "x"}, {"ellipsis": True}, {"array": [1.0, [2.0]], "dtype": "float32"},
    {"number": 1, "dtype": "V10"}, {"class": "os.system"}, {"function": "__import__"}, {"type": "builtins.exec"},
]  # fmt: skip


def samples() -> list[bytes]:
    """A graph with an optimizer's slots, a network of pictures and one of sequences, as files."""
    a = kjax.Input(shape=(4,))
    shared = kjax.layers.Dense(4, "relu", kernel_regularizer="l2")
    graph = kjax.Model(
        a, kjax.layers.Dense(2, "softmax")(kjax.layers.BatchNormalization()(shared(shared(a)) + a)[:, :3])
    )
    graph.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    pictures = kjax.Sequential([nn.Resizing(6, 6, input_shape=(4, 4, 1)), nn.Conv2D(2, 3), nn.Flatten(), nn.Dense(1)])
    sequences = kjax.Sequential([nn.LSTM(2, input_shape=(3, 2)), nn.Dropout(0.5), nn.Dense(1)])
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for model in (graph, pictures, sequences):
            model.save(pathlib.Path(folder, "m"))
            found.append(pathlib.Path(folder, "m").read_bytes())
    return found


def flipped(data: bytes, rng: random.Random) -> bytes:
    """The file with up to eight bits flipped, half of the time in its header."""
    changed, end = bytearray(data), rng.choice([len(data), 8 + int.from_bytes(data[:8], "little")])
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(end)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: random.Random) -> bytes:
    """The start of the file, or the end."""
    at = rng.randrange(len(data))
    return data[:at] if rng.random() < 0.8 else data[at:]


def spliced(data: bytes, rng: random.Random) -> bytes:
    """The file with a piece of it over, or in front of, another place."""
    i, j, n = rng.randrange(len(data)), rng.randrange(len(data)), int(math.exp(rng.uniform(0, math.log(len(data)))))
    return data[:i] + data[j : j + n] + data[i + rng.choice([0, n]) :]


def edited(data: bytes, rng: random.Random) -> bytes:
    """The file with its JSON changed in up to three places."""
    size = int.from_bytes(data[:8], "little")
    outer = json.loads(data[8 : 8 + size])
    inner = json.loads(outer["__metadata__"]["model"])
    for _ in range(rng.randint(1, 3)):
        edit(inner if rng.random() < 0.9 else outer, rng)
    if isinstance(outer.get("__metadata__"), dict):
        outer["__metadata__"]["model"] = json.dumps(inner)
    header = json.dumps(outer).encode()
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def edit(tree: dict, rng: random.Random) -> None:
    """Changes one place of nested dicts and lists."""
    places = list(walk(tree))
    owner, key = rng.choice(places)
    choice = rng.random()
    if choice < 0.15:
        del owner[key]
    elif choice < 0.25 and isinstance(owner, dict):
        owner[rng.choice(["units", "name", "class", "extra", key.upper()])] = owner.pop(key)
    elif choice < 0.4 and key in ("class", "function"):
        owner[key] = rng.choice(sorted(known()))
    elif choice < 0.6:
        other, place = rng.choice(places)
        owner[key] = copy.deepcopy(other[place])
    elif choice < 0.63:
        for _ in range(rng.choice([3, 150, 2000])):
            owner[key] = {"class": "nn.Serial", "fields": {"layers": [owner[key]]}}
    else:
        owner[key] = copy.deepcopy(rng.choice(NASTY))


def walk(tree):
    """Every `(owner, key)` in nested dicts and lists."""
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from walk(value)


KINDS = {"bits": flipped, "cuts": cut, "splices": spliced, "edits": edited}


def damaged(kind: str, data: bytes, rng: random.Random) -> bytes:
    """The file after one mutation; what is nested deep may be made here, however deep Python goes elsewhere."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(50_000)
    try:
        return KINDS[kind](data, rng)
    finally:
        sys.setrecursionlimit(limit)


def peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def fuzz(mutations: int, seed: int = 0) -> dict:
    """Loads that many damaged files; what became of them."""
    rng, files, found = random.Random(seed), samples(), collections.Counter()
    crashes, slowest, before, start = [], 0.0, peak(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "m")
        for i in range(mutations):
            kind = list(KINDS)[i % len(KINDS)]
            path.write_bytes(damaged(kind, rng.choice(files), rng))
            began = time.perf_counter()
            try:
                kjax.load_model(path)
                found["loaded", kind] += 1
            except ValueError:
                found["refused", kind] += 1
            except BaseException as error:
                crashes.append((kind, i, repr(error)[:200]))
            slowest = max(slowest, time.perf_counter() - began)
    return {
        "mutations": mutations,
        "refused": sum(n for (what, _), n in found.items() if what == "refused"),
        "loaded": sum(n for (what, _), n in found.items() if what == "loaded"),
        "crashes": crashes,
        "seconds": time.perf_counter() - start,
        "slowest": slowest,
        "grown": peak() - before,
        "peak": peak(),
        "of": {kind: tuple(found[what, kind] for what in ("refused", "loaded")) for kind in KINDS},
    }


def main() -> int:
    """Prints the figures; 1 if anything but a ValueError came."""
    resource.setrlimit(resource.RLIMIT_AS, (16 * GIB, resource.getrlimit(resource.RLIMIT_AS)[1]))
    mutations, seed = (int(a) for a in [*sys.argv[1:], *["12000", "0"][len(sys.argv) - 1 :]])
    got = fuzz(mutations, seed)
    print("mutations {mutations}, refused {refused}, loaded {loaded}".format(**got), f"crashes {len(got['crashes'])}")
    print("{seconds:.0f} s, slowest {slowest:.2f} s, peak {peak:.0f} MB, {grown:.0f} MB of it here".format(**got))
    print("(refused, loaded):", ", ".join(f"{kind} {pair}" for kind, pair in got["of"].items()))
    for crash in got["crashes"]:
        print("crash:", crash)
    return bool(got["crashes"])


if __name__ == "__main__":
    sys.exit(main())
