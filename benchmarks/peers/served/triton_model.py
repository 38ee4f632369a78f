"""Triton's Python backend around one ONNX Runtime session: model.py of a model repository."""

import json

import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    """The session, asked as Triton hands requests out."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(config["parameters"]["file"]["string_value"], options)
        self.input = self.session.get_inputs()[0].name
        self.output = self.session.get_outputs()[0].name

    def execute(self, requests):
        answers = []
        for request in requests:
            x = triton.get_input_tensor_by_name(request, self.input).as_numpy()
            y = self.session.run([self.output], {self.input: x})[0]
            answers.append(triton.InferenceResponse([triton.Tensor(self.output, y)]))
        return answers
