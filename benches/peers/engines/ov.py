"""OpenVINO on the exported encoder: f32 and bf16."""

import numpy
import openvino

from . import Job, Loaded, Unsupported, expect

VERSION = openvino.__version__.split("-")[0]


def load(job: Job) -> Loaded:
    if job.new or job.format not in ("f32", "bf16"):
        raise Unsupported("encoders in f32 and bf16 only are measured")
    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": job.threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": job.format,
    }
    request = core.compile_model(str(job.converted / "model.onnx"), "CPU", settings).create_infer_request()
    ids = numpy.array(job.ids, dtype=numpy.int64)
    return Loaded(lambda: request.infer({"ids": ids})[0], lambda hidden: expect("rows", hidden.shape[:2], ids.shape))
