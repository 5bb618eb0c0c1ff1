"""Whether a figure gets better upwards or downwards, told by its name."""

import functools
import re
from typing import TYPE_CHECKING

from ..check.values import check_option

if TYPE_CHECKING:
    from typing import Literal

MODES = ("auto", "min", "max")


def _names(text):
    return frozenset(text.split())


# What names end in, in words joined by "_". "per", "map" and the like mean a figure only where they stand alone.
LOWER = _names("""
    bits bpb bpc bpd brier calibration_error cer cost cross_entropy crossentropy crps ctc deviance divergence ece
    edit_distance eer error error_rate errors false_negative_rate false_positive_rate fnr fpr hinge huber kld
    levenshtein logloss loss losses mae mape mase mse msle nats neg_log_likelihood negative_log_likelihood nll nrmse
    penalty perplexity pinball ppl regret rmse rmsle rmsse smape ter wape wer wmape
""")
LOWER_ALONE = frozenset({"kl", "per", "quantile"})
HIGHER = _names("""
    acc accuracies accuracy auc aucpr auprc auroc bleu bleu1 bleu2 bleu3 bleu4 chrf dice elbo exact_match
    explained_variance f1 f1score f2 f_beta f_measure fbeta hit_rate iou jaccard kappa kendall likelihood
    log_likelihood mcc meteor miou mrr ndcg pearson pr_auc precision psnr r2 r2score r_squared recall reward roc_auc
    rocauc rouge rouge1 rouge2 rouge_l rougel sacrebleu sensitivity snr spearman specificity ssim success_rate tnr
    tpr true_negative_rate true_positive_rate
""")
HIGHER_ALONE = frozenset({"ap", "correlation", "map", "r"})
LOSSES = frozenset({"loss", "losses", "error", "errors"})
TURNED = _names("delta difference drop gap inverse lost minus missed neg negated negative no non not")
ADDED = re.compile(r"score|micro|macro|weighted|samples|binary|ovr|ovo|mean|at|top|(top)?\d+")
NAME_WORDS = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+")


def sign_of(monitor: str, mode: "Literal['min', 'max', 'auto']") -> int:
    """1 where higher values of a figure are better, -1 where lower ones are.

    Parameters
    ----------
    monitor : str
        Name of the figure.
    mode : "min", "max" or "auto"
        "auto" goes by the name.

    Raises
    ------
    ValueError
        Where "auto" does not know the name.
    """
    if check_option(mode, "mode", MODES) != "auto":
        return 1 if mode == "max" else -1
    sign = _known(monitor)
    if not sign:
        raise ValueError("monitor: expected mode='min' or mode='max' with it, as mode='auto' cannot tell whether lower "
                         f"or higher is better; found {monitor!r:.100}")
    return sign


@functools.lru_cache(maxsize=256)
def _known(monitor):
    """1, -1, or 0 for a name that is not known or says two things."""
    words = [word.lower() for word in NAME_WORDS.findall(monitor.removeprefix("val_"))]
    if "per" in words[1:]:
        words = words[: words.index("per", 1)]  # bits per character, loss per token
    while words and ADDED.fullmatch(words[-1]):
        words.pop()
    if words[:1] == ["1"]:  # 1 - accuracy
        return 0
    whole = "_".join(words)
    if whole in LOWER_ALONE:
        return -1
    if whole in HIGHER_ALONE:
        return 1
    for k in range(len(words)):
        ending, before = "_".join(words[k:]), set(words[:k])
        if ending in LOWER or ending in HIGHER:
            sign = 1 if ending in HIGHER else -1
            against = HIGHER if sign < 0 else LOWER
            if before & TURNED or (before & against and words[-1] not in LOSSES):
                return 0
            return sign
    return 0
