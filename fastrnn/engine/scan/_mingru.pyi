from ..cells._kind import Kind

MinGRU: Kind
