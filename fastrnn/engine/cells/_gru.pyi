from ._kind import Kind

GRU: Kind
