from ..cells._kind import Kind

SRU: Kind
