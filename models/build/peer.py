"""The example `engine` of agent/inference as a child process, to be compared with onnxruntime in one run."""

import json
import pathlib
import subprocess
import tempfile
import time

import numpy


class Engine:
    """Speaks the example's lines."""

    def __init__(self, program):
        self.child = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.folder = tempfile.TemporaryDirectory()
        self.place = pathlib.Path(self.folder.name)

    def ask(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline().strip()
        if not answer or answer.startswith("error"):
            raise RuntimeError(answer or "the engine has ended")
        return answer

    def load(self, backend, path, kernels=""):
        """Loads a model; answers what the engine says of it."""
        return json.loads(self.ask(f"load {backend} {path} {kernels}".strip())[len("ok "):])

    def fill(self, values):
        values.astype("<f4").tofile(self.place / "in")
        self.ask(f"input {self.place / 'in'}")

    def time(self, runs=1):
        """Milliseconds of each run."""
        return [float(t) for t in self.ask(f"run {runs}").split()]

    def cpu_ms(self):
        """Milliseconds of processor time that the child has had: the clock of clock_getcpuclockid(3)."""
        return time.clock_gettime_ns(~self.child.pid << 3 | 2) / 1e6

    def profile(self):
        """What each kind of step takes, in one run."""
        return json.loads(self.ask("profile 1"))

    def outputs(self):
        shapes = [json.loads(shape) for shape in self.ask(f"outputs {self.place / 'out'}").split()]
        return [numpy.fromfile(f"{self.place / 'out'}.{n}", "<f4").reshape(s) for n, s in enumerate(shapes)]

    def run(self, values):
        self.fill(values)
        self.time()
        return self.outputs()
