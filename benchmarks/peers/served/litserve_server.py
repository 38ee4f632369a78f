"""LitServe around one ONNX Runtime session: `python litserve_server.py MODEL PORT`."""

import sys

import litserve
import numpy as np
import onnxruntime


class Onnx(litserve.LitAPI):
    """The session, asked with LitServe's own JSON: {"input": nested numbers}."""

    def setup(self, device):  # noqa: ARG002 - LitServe's signature
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[1], options)
        self.input = self.session.get_inputs()[0].name

    def decode_request(self, request):
        return np.array(request["input"], np.float32)

    def predict(self, x):
        return self.session.run(None, {self.input: x})[0]

    def encode_response(self, output):
        return {"output": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Onnx(), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
