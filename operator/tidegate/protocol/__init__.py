"""The gRPC service of the Open Inference Protocol; its messages are generated from the .proto by `make protos`."""

SERVICE = "inference.GRPCInferenceService"
# Which field of InferTensorContents holds the values of a datatype; FP16 and BF16 have none.
CONTENTS = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
