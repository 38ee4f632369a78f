"""The messages of the gRPC protocol, generated from `open_inference.proto` by `make protos`."""
