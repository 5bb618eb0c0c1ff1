from ._kind import Kind

RNN: Kind
