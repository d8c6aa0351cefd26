"""Runs a model file three times by onnxruntime, one thread, and writes a line after loading and after each run.

    python inference_peer.py MODEL NOISE
"""

import os
import sys

import numpy
import onnxruntime

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 4
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
entry = session.get_inputs()[0]
values = numpy.fromfile(sys.argv[2], "<f4").reshape(entry.shape)
# In one call to the system: it is at those that instructions are counted.
os.write(1, b"loaded\n")
for _ in range(3):
    session.run(None, {entry.name: values})
    os.write(1, b"run\n")
