from ._kind import Kind

LSTM: Kind
