"""Random small graphs of what models of sound are made of: convolutions along one axis, every other number, halves that
change places.

Used by fuzz_engine.py.
"""

import numpy

from fuzz_words import Words


class Sound(Words):
    """A chain of layers over a few channels of samples."""

    def conv(self, name):
        channels, samples = self.shape(name)[1:]
        kernel, dilation = self.pick(1, 3, 4, 7), self.pick(1, 1, 1, 2)
        reach = (kernel - 1) * dilation + 1
        depthwise = self.random.random() < 0.25
        groups = channels if depthwise else self.pick(1, 1, 1, 2)
        groups = groups if channels % groups == 0 else 1
        outputs = channels if depthwise else groups * int(self.random.integers(1, 20))
        pads = [int(p) for p in self.random.integers(0, reach, 2)]
        if samples + sum(pads) < reach:
            return name
        weights = self.floats(outputs, channels // groups, kernel, reach=1 / numpy.sqrt(kernel * channels / groups))
        inputs = [name, weights] + ([self.floats(outputs)] if self.random.random() < 0.8 else [])
        made = self.add("Conv", inputs, kernel_shape=[kernel], strides=[self.pick(1, 1, 2, 3)], dilations=[dilation],
                        group=groups, pads=pads)
        return self.function(made)

    def every(self, name):
        """Every second or third number of an axis, from somewhere on."""
        axis = self.pick(1, 2)
        size = self.shape(name)[axis]
        begin, step = int(self.random.integers(0, max(size // 2, 1))), self.pick(1, 2, 3)
        end = self.pick(size, 2**31 - 1, max(size - 1, begin + 1))
        return self.add("Slice", [name, *(self.integers(n) for n in (begin, end, axis, step))])

    def padded(self, name):
        """A border of one axis."""
        pads = numpy.zeros((2, 3), numpy.int64)
        pads[:, self.pick(1, 2)] = self.random.integers(0, 4, 2)
        number = [self.number(self.random.normal())] if self.random.random() < 0.5 else []
        return self.add("Pad", [name, self.constant(pads.ravel()), *number])

    def turned(self, name):
        """Pairs of numbers, one of each negated: what attention turns words by."""
        size = self.shape(name)[2]
        if size % 2:
            return name
        halves = [self.add("Slice", [name, *(self.integers(n) for n in (begin, size, 2, 2))]) for begin in (0, 1)]
        pair = [self.reshape(self.add("Neg", [halves[1]]), *self.shape(halves[1]), 1),
                self.reshape(halves[0], *self.shape(halves[0]), 1)]
        return self.reshape(self.add("Concat", pair, axis=-1), *self.shape(name))

    def build(self):
        channels, samples = self.pick(1, 2, 4), int(self.random.integers(20, 200))
        self.values["input"] = self.random.uniform(-1, 1, (1, 1, channels, samples)).astype(numpy.float32)
        last, sides = self.reshape("input", 1, channels, samples), []
        for _ in range(self.random.integers(2, 6)):
            same = [s for s in sides if self.shape(s) == self.shape(last) and s != last]
            kind = self.pick("conv", "conv", "conv", "every", "turned", "padded", "add", "beside", "norm")
            if kind in ("add", "beside"):
                other = self.pick(*same) if same else last
                made = self.add("Add", [last, other]) if kind == "add" else self.add(
                    "Concat", [last, other], axis=self.pick(1, 2))
            elif kind == "norm" and self.shape(last)[-1] > 1:
                made = self.norm(last)
            else:
                made = {"every": self.every, "turned": self.turned, "padded": self.padded}.get(kind, self.conv)(last)
            sides.append(last)
            last = made
        if self.random.random() < 0.5:
            last = self.add("Transpose", [last], perm=[0, 2, 1])
        return self.model([last])
