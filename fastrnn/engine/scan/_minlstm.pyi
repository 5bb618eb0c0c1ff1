from ..cells._kind import Kind

MinLSTM: Kind
