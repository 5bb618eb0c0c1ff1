"""Configurations of Keras' layers: checked entries, activations, versions."""

from typing import TYPE_CHECKING, NamedTuple

from ...nn.layers import ELU, GELU, Hardsigmoid, LeakyReLU, LogSoftmax, ReLU, Sigmoid, SiLU, Softmax, Softplus, Tanh

if TYPE_CHECKING:
    from typing import Any

    from ..._types import Array

PLAIN = int, float, str, bool, type(None)
LINEAR = "linear"
# Of a layer's activation: Keras' name -> what makes the module.
MODULES = {
    "relu": ReLU, "elu": ELU, "gelu": GELU, "silu": SiLU, "swish": SiLU, "tanh": Tanh, "sigmoid": Sigmoid,
    "softplus": Softplus, "softmax": Softmax, "log_softmax": LogSoftmax, "leaky_relu": lambda: LeakyReLU(0.2),
}  # fmt: skip
# Of a recurrent layer's gates: Keras' name -> the engine's.
GATES = {
    "sigmoid": "sigmoid", "tanh": "tanh", "relu": "relu", "elu": "elu", "softsign": "softsign", "softplus": "softplus",
    "linear": ("affine", 1.0, 0.0), "leaky_relu": ("leaky_relu", 0.2),
}  # fmt: skip


class Spec(NamedTuple):
    """A layer: its class, its configuration and its weights in Keras' order."""

    kind: str
    config: "dict[str, Any]"
    weights: "list[Array]"
    version: "tuple[int, int] | None"  # of Keras, major and minor

    @property
    def where(self) -> str:
        """What an error names."""
        return f"{self.config.get('name', 'the layer')!s:.100} ({self.kind:.100})"

    def get(self, name: str, *default: "Any") -> "Any":
        """A plain entry of the configuration."""
        if name not in self.config and not default:
            raise ValueError(f"{self.where}: expected an entry {name}, found none")
        value = self.config.get(name, *default)
        if not isinstance(value, PLAIN):
            raise ValueError(f"{self.where}.{name}: expected a number, a text, true, false or null; found a "
                             f"{type(value).__name__}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        """A flag of the configuration; null stands for the default."""
        value = self.get(name, default)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise ValueError(f"{self.where}.{name}: expected true or false, found {value!r:.80}")
        return value

    def refuse(self, name: str, expected: "Any") -> None:
        """Raise unless an entry, where there is one, has the one value that is known here."""
        found = self.get(name, expected)
        if found is not None and found != expected:
            raise ValueError(f"{self.where}.{name}: expected {expected!r}, found {found!r:.80}")

    def activation(self, name: str, default: str) -> "str | tuple[str, dict[str, Any]]":
        """The name of an activation, or its class and configuration where it is a layer."""
        value = self.config.get(name, default)
        if isinstance(value, dict):
            own, inner = value.get("class_name"), value.get("config")
            if isinstance(inner, str) and own in ("function", "str"):
                value = inner
            elif isinstance(own, str) and isinstance(inner, dict):
                return own, inner
            elif isinstance(own, str) and inner is None:
                value = own
        if value is None:
            return LINEAR
        if not isinstance(value, str):
            raise ValueError(f"{self.where}.{name}: expected the name of an activation, found a {type(value).__name__}")
        return value

    def module(self, name: str = "activation", default: str = LINEAR) -> "list[Any]":
        """The module of an activation: none for a linear one."""
        found = self.activation(name, default)
        if found == LINEAR:
            return []
        if isinstance(found, tuple):
            found = found[0]  # a layer, which has settings that functions do not
        elif found in MODULES:
            return [MODULES[found]()]
        elif found == "hard_sigmoid" and self.version is not None and self.version[0] >= 3:
            return [Hardsigmoid()]
        raise ValueError(f"{self.where}.{name}: expected one of {', '.join([LINEAR, *MODULES])}, or Keras 3's "
                         f"hard_sigmoid; found {found:.80}")

    def gate(self, name: str, default: str) -> "Any":
        """The engine's activation of a recurrent layer."""
        found = self.activation(name, default)
        if isinstance(found, str) and found in GATES:
            return GATES[found]
        if found == "hard_sigmoid":
            if self.version is None:
                raise ValueError(f"{self.where}.{name}: hard_sigmoid is 0.2x + 0.5 up to Keras 2 and x/6 + 0.5 from 3; "
                                 f"expected a file that tells its version, found none")
            return ("hard_sigmoid", 1 / 6 if self.version[0] >= 3 else 0.2, 0.5)
        raise ValueError(f"{self.where}.{name}: expected one of {', '.join([*GATES, 'hard_sigmoid'])}; found "
                         f"{found if isinstance(found, str) else found[0]:.80}")
