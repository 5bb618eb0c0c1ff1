from ..cells._kind import Kind

QRNN: Kind
