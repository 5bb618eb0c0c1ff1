"""From a network's outputs to sequences: sampling, beam search, CTC's greedy and prefix beam search; their errors."""

from .beam import beam_search
from .ctc import CTCBeamSearch, ctc_beam_search, ctc_greedy
from .errors import edit_distance, error_rate
from .language import NetworkScores
from .sampling import choose, penalise, sample
from .states import Hypothesis, log_softmax, stream_step, take_rows

__all__ = [
    "CTCBeamSearch",
    "Hypothesis",
    "NetworkScores",
    "beam_search",
    "choose",
    "ctc_beam_search",
    "ctc_greedy",
    "edit_distance",
    "error_rate",
    "log_softmax",
    "penalise",
    "sample",
    "stream_step",
    "take_rows",
]
