"""KServe's own server around one ONNX Runtime session: `python kserve_server.py MODEL PORT GRPC_PORT`."""

import sys

import onnxruntime
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer


class Onnx(Model):
    """The session, asked as KServe hands requests out."""

    def __init__(self, path):
        super().__init__("bench")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options)
        self.ready = True

    async def predict(self, payload: InferRequest, headers=None, response_headers=None):  # noqa: ARG002 - KServe's signature
        feeds = {tensor.name: tensor.as_numpy() for tensor in payload.inputs}
        names = [output.name for output in self.session.get_outputs()]
        outputs = []
        for name, array in zip(names, self.session.run(names, feeds), strict=True):
            tensor = InferOutput(name, list(array.shape), "FP32")
            tensor.set_data_from_numpy(array, binary_data=payload.use_binary_outputs)
            outputs.append(tensor)
        return InferResponse(payload.id, "bench", outputs, use_binary_outputs=payload.use_binary_outputs)


if __name__ == "__main__":
    model, port, grpc_port = sys.argv[1:]
    server = ModelServer(http_port=int(port), grpc_port=int(grpc_port), workers=1, access_log_format=None)
    server.start([Onnx(model)])
