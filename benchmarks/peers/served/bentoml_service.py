"""BentoML around one ONNX Runtime session, the file in the environment's BENCH_MODEL."""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(name="bench", workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Onnx:
    """The session, asked with BentoML's own JSON: {"x": nested numbers}."""

    def __init__(self):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options)
        self.input = self.session.get_inputs()[0].name

    @bentoml.api
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self.input: x.astype(np.float32)})[0]
