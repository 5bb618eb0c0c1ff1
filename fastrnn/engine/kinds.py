"""The kinds of cells by name, each described in its own file."""

from .cells import _general, _lngru, _lnlstm  # noqa: F401  further step functions of the kinds below
from .cells._gru import GRU
from .cells._lstm import LSTM
from .cells._rnn import RNN
from .scan._mingru import MinGRU
from .scan._minlstm import MinLSTM
from .scan._qrnn import QRNN
from .scan._sru import SRU

KINDS = {kind.name: kind for kind in (RNN, LSTM, GRU, MinGRU, MinLSTM, SRU, QRNN)}
