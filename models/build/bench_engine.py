"""Milliseconds of one inference, one thread: the engine, tract and onnxruntime on the same files and input, in turn.

    python bench_engine.py PROGRAM [FILE...]

PROGRAM is the example `engine`. Without files, the library's. Runs are interleaved, one of each at a time, so that
a busy machine is busy for all. Prints a table of medians (fastest).
"""

import pathlib
import statistics
import sys
import time

import numpy
import onnxruntime

from peer import Engine
from reference import LIBRARY

ROUNDS = 25
BACKENDS = ["engine-int8", "engine-f32", "tract"]


def session(path):
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def memory(child):
    """Peak memory of a process, in megabytes."""
    status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def measure(program, path):
    """Times by runtime, and figures of the engine."""
    peer = session(path)
    entry = peer.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in entry.shape]
    values = numpy.random.default_rng(1).uniform(-1, 1, shape).astype(numpy.float32)
    runs, figures = {}, {}
    for backend in BACKENDS:
        engine = Engine(program)
        try:
            figures[backend] = engine.load(backend, path)
            engine.fill(values)
            engine.time(2)
            figures[backend]["peak_mb"] = memory(engine.child)
            runs[backend] = lambda engine=engine: engine.time()[0]
        except RuntimeError as error:
            print(f"{path}: {backend}: {str(error)[:150]}", file=sys.stderr)
    clock = time.perf_counter

    def reference():
        begin = clock()
        peer.run(None, {entry.name: values})
        return (clock() - begin) * 1e3

    reference()
    runs["onnxruntime"] = reference
    times = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            times[name].append(run())
    return times, figures


def main():
    program, *files = sys.argv[1:]
    paths = [pathlib.Path(f) for f in files] or sorted(LIBRARY.glob("*/model.onnx"))
    print("| model | engine int8 | engine f32 | tract f32 | onnxruntime, same file | left to tract | peak MB int8 / f32 / tract |")
    print("|---|---|---|---|---|---|---|")
    for path in paths:
        times, figures = measure(program, path)

        def shown(name):
            taken = times.get(name)
            return f"{statistics.median(taken):.2f} ({min(taken):.2f})" if taken else "-"

        name = path.parent.name if path.name == "model.onnx" else path.stem
        left = " / ".join(str(figures[b]["fallbacks"]) for b in BACKENDS[:2] if b in figures)
        peaks = " / ".join(f"{figures[b]['peak_mb']:.0f}" if b in figures else "-" for b in BACKENDS)
        print(f"| {name} | {shown('engine-int8')} | {shown('engine-f32')} | {shown('tract')} | {shown('onnxruntime')} "
              f"| {left} | {peaks} |", flush=True)


if __name__ == "__main__":
    main()
