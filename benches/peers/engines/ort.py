"""ONNX Runtime on the exported encoder: f32, and int8 by its dynamic quantisation."""

import numpy
import onnxruntime

from . import Job, Loaded, Unsupported, expect

VERSION = onnxruntime.__version__
FILES = {"f32": "model.onnx", "int8": "model.int8.onnx"}


def load(job: Job) -> Loaded:
    if job.new or job.format not in FILES:
        raise Unsupported("encoders in f32 and int8 only are measured")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    path = job.converted / FILES[job.format]
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    ids = numpy.array(job.ids, dtype=numpy.int64)
    return Loaded(lambda: session.run(None, {"ids": ids})[0], lambda hidden: expect("rows", hidden.shape[:2], ids.shape))
