"""ONNX graphs in and out: `wire` and `messages` are the file, `graph` what it says, `program` and `ops` how it runs.

Read from `model`, which is what `fastrnn.from_onnx` returns. The `onnx` package is not needed.
"""
