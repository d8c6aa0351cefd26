"""Milliseconds of one inference, one thread: the engine, tract and onnxruntime on the same files and input, in turn.

    python bench_engine.py PROGRAM [NAME...]

PROGRAM is the example `engine`; a NAME is a model of bench_models.json, without names all of them. What is measured
is the processor's time, not the clock's: the machine may be busy with others. Runs are interleaved, a turn for each,
so that what neighbours do to caches and clocks is done to all. Prints tables of medians, and which bars are missed.
"""

import statistics
import sys
import time
from pathlib import Path

from bench_models import cases, noise
from peer import Engine
from reference import session

# Turns, and how long one takes at least: a short run is repeated within its turn.
TURNS, TURN_MS = 21, 8
# The least factor against onnxruntime that is asked for, by the kind of model and precision.
BARS = {("cnn", "int8"): 1.15, ("cnn", "f32"): 1.0}


class Own:
    """The engine, or tract, as a child process."""

    def __init__(self, program, backend, path, values):
        self.engine = Engine(program)
        self.load_ms = self.engine.load(backend, path)["load_ms"]
        self.engine.fill(values)
        self.engine.time(2)
        steps = self.engine.profile()
        self.left = {s["kind"].removeprefix("tract: "): s["steps"] for s in steps if s["fallback"]}
        lines = Path(f"/proc/{self.engine.child.pid}/status").read_text().splitlines()
        self.peak_mb = int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

    def run(self, times):
        before = self.engine.cpu_ms()
        self.engine.time(times)
        return (self.engine.cpu_ms() - before) / times


class Peer:
    """onnxruntime in this process."""

    def __init__(self, path, name, values):
        self.session, self.given = session(path), {name: values}
        self.session.run(None, self.given)

    def run(self, times):
        before = time.process_time_ns()
        for _ in range(times):
            self.session.run(None, self.given)
        return (time.process_time_ns() - before) / times / 1e6


def runners(program, case):
    """What runs a model, by its name; why something does not is told at once."""
    name, (values,) = noise(case.f32, case.range)
    made = {}
    wanted = [("engine-int8", case.int8), ("engine-f32", case.f32), ("tract", case.f32),
              ("onnxruntime-int8", case.peer), ("onnxruntime-f32", case.f32)]
    for runtime, path in wanted:
        if path is None:
            continue
        # The quantised file may have been cut elsewhere.
        given = (name, values) if path == case.f32 else (noise(path, case.range)[0], values)
        try:
            peer = runtime.startswith("onnxruntime")
            made[runtime] = Peer(path, *given) if peer else Own(program, runtime, path, values)
        except RuntimeError as error:
            print(f"{case.name}: {runtime}: {str(error)[:300]}", file=sys.stderr)
    return made


def measure(made):
    """The median of each."""
    often = {name: max(1, round(TURN_MS / max(runner.run(1), 1e-3))) for name, runner in made.items()}
    laps = {name: [] for name in made}
    for _ in range(TURNS):
        for name, runner in made.items():
            laps[name].append(runner.run(often[name]))
    return {name: statistics.median(taken) for name, taken in laps.items()}


def missed(case, times):
    """The bars that a model does not reach."""
    tract = times.get("tract")
    for form in ("int8", "f32"):
        own, peer, bar = times.get(f"engine-{form}"), times.get(f"onnxruntime-{form}"), BARS.get((case.kind, form))
        if own and peer and bar and peer / own < bar:
            yield f"{case.name} {form}: {peer / own:.2f} x onnxruntime {form}, the bar is {bar}"
        if own and tract and own > tract:
            yield f"{case.name} {form}: {tract / own:.2f} x tract, the bar is 1"
        if not own and bar:
            yield f"{case.name} {form}: the engine does not run it"


def row(case, times, made):
    def shown(name):
        return f"{times[name]:.2f}" if name in times else "-"

    def factor(own, other):
        return f"{times[other] / times[own]:.2f}" if own in times and other in times else "-"

    def left(name):
        # In the order of what they cost.
        left = list(made[name].left.items()) if name in made else []
        shown = ", ".join(f"{count} {operator}" for operator, count in left[:5]) or "nothing"
        others = sum(count for _, count in left[5:])
        return f"{shown} and {others} others" if others else shown

    cells = [case.name]
    for form in ("int8", "f32"):
        own, other = f"engine-{form}", f"onnxruntime-{form}"
        cells += [shown(own), shown(other), factor(own, other)]
    cells += [shown("tract"), factor("engine-f32", "tract")]
    beyond = [case.name, left("engine-int8") if case.int8 else "-", left("engine-f32")]
    beyond += [" / ".join(f"{made[n].peak_mb:.0f}" if n in made else "-" for n in ("engine-int8", "engine-f32", "tract"))]
    return "| " + " | ".join(cells) + " |", "| " + " | ".join(beyond) + " |"


def main():
    program, *names = sys.argv[1:]
    print("| model | engine int8 | onnxruntime int8 | × | engine f32 | onnxruntime f32 | × | tract f32 | ×, engine f32 |")
    print("|---|---|---|---|---|---|---|---|---|")
    others, below, absent = [], [], []
    for case in cases(names):
        if isinstance(case, tuple):
            absent.append(f"{case[0]}: {case[1]}")
            continue
        made = runners(program, case)
        times = measure(made)
        line, other = row(case, times, made)
        print(line, flush=True)
        others.append(other)
        below += missed(case, times)
    print("\n| model | left to tract by int8 | by f32 | peak MB int8 / f32 / tract |\n|---|---|---|---|")
    print("\n".join(others))
    print("\nBars missed:", *(below or ["none"]), sep="\n- ")
    if absent:
        print("\nNot measured:", *absent, sep="\n- ")


if __name__ == "__main__":
    main()
