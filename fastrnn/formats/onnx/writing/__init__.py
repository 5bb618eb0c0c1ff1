"""Networks as ONNX graphs: `graph` collects nodes, `modules` knows what each type of module is made of.

Inside a graph sequences are time-major, (T, B, C), whatever the network's own layout.
"""
