"""scikit-learn estimators: recurrent networks with `fit` and `predict`. Needs the extra ``fastrnn[sklearn]``."""

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ImportError('fastrnn.sklearn needs scikit-learn: pip install "fastrnn[sklearn]"') from None

from .anomaly import RNNAnomalyDetector
from .classifier import RNNClassifier
from .files import load
from .forecaster import RNNForecaster
from .regressor import RNNRegressor
from .tagger import RNNTagger

__all__ = ["RNNAnomalyDetector", "RNNClassifier", "RNNForecaster", "RNNRegressor", "RNNTagger", "load"]
