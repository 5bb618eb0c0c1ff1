"""The messages of ONNX files: field numbers and types of onnx.proto (ONNX 1.23), as far as a graph needs them.

A type that ends with "*" is repeated. Fields that are not here are skipped; those that would change what a graph
computes are here, so that `graph` can refuse them.
"""

from .wire import message

ENTRY = message("StringStringEntryProto", {1: "key string", 2: "value string"})
TENSOR = message("TensorProto", {
    1: "dims int*", 2: "data_type int", 3: "segment bytes", 4: "float_data float[]", 5: "int32_data int32[]",
    6: "string_data bytes*", 7: "int64_data int[]", 8: "name string", 9: "raw_data bytes", 10: "double_data double[]",
    11: "uint64_data int[]", 13: "external_data StringStringEntryProto*", 14: "data_location int",
})
DIMENSION = message("Dimension", {1: "dim_value int?", 2: "dim_param string"})
SHAPE = message("TensorShapeProto", {1: "dim Dimension*"})
TENSOR_TYPE = message("Tensor", {1: "elem_type int", 2: "shape TensorShapeProto"})
TYPE = message("TypeProto", {1: "tensor_type Tensor", 4: "sequence_type bytes", 5: "map_type bytes",
                             8: "sparse_tensor_type bytes", 9: "optional_type bytes"})
VALUE_INFO = message("ValueInfoProto", {1: "name string", 2: "type TypeProto"})
ATTRIBUTE = message("AttributeProto", {
    1: "name string", 2: "f float", 3: "i int", 4: "s bytes", 5: "t TensorProto", 6: "g GraphProto", 7: "floats "
                                                                                                        "float[]",
    8: "ints int*", 9: "strings bytes*", 10: "tensors TensorProto*", 11: "graphs GraphProto*", 14: "tp bytes",
    15: "type_protos bytes*", 20: "type int", 21: "ref_attr_name string", 22: "sparse_tensor bytes",
    23: "sparse_tensors bytes*",
})
NODE = message("NodeProto", {
    1: "input string*", 2: "output string*", 3: "name string", 4: "op_type string", 5: "attribute AttributeProto*",
    7: "domain string", 8: "overload string",
})
GRAPH = message("GraphProto", {
    1: "node NodeProto*", 2: "name string", 5: "initializer TensorProto*", 11: "input ValueInfoProto*",
    12: "output ValueInfoProto*", 15: "sparse_initializer bytes*",
})
OPSET = message("OperatorSetIdProto", {1: "domain string", 2: "version int"})
FUNCTION = message("FunctionProto", {
    1: "name string", 4: "input string*", 5: "output string*", 6: "attribute string*", 7: "node NodeProto*",
    9: "opset_import OperatorSetIdProto*", 10: "domain string", 11: "attribute_proto AttributeProto*",
    13: "overload string",
})
MODEL = message("ModelProto", {
    1: "ir_version int", 2: "producer_name string", 3: "producer_version string", 7: "graph GraphProto",
    8: "opset_import OperatorSetIdProto*", 14: "metadata_props StringStringEntryProto*", 25: "functions FunctionProto*",
})
