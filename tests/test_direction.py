"""Which way a figure gets better, told by its name."""

import pytest

from fastrnn.train import losses, metrics
from fastrnn.train.direction import HIGHER, HIGHER_ALONE, LOWER, LOWER_ALONE, sign_of

split = str.split
BETTER_LOWER = split("""
    loss val_loss error mae mse rmse nll perplexity ppl cer wer per bits bits_per_character loss_per_token error_rate
    ctc_loss CTCLoss MeanSquaredError wordErrorRate word-error-rate top_5_error gaussian_nll binary_cross_entropy
    negative_log_likelihood false_negative_rate dice_loss f1_loss accuracy_loss brier_score mape val_smape penalty
    RMSELoss edit_distance ter
""")
BETTER_HIGHER = split("""
    accuracy val_accuracy acc binary_accuracy balanced_accuracy_score accuracy@5 top5_accuracy TopKAccuracy f1 F1Score
    f1_macro macro_f1 auc ROCAUC roc_auc_ovr r2 R2Score precision average_precision precision_weighted recall
    recall_at_10 bleu BLEU sacrebleu chrf iou dice cohen_kappa mcc log_likelihood ndcg@10 map rougeL
""")
UNKNOWN = split("""
    score x lr grad_norm seconds custom lambda inaccuracy nonaccuracy tokens_per_second neg_mean_squared_error
    neg_log_loss one_minus_auc 1-accuracy loss_of_accuracy accuracy_drop no_error p90_quantile val_ loss_ratio
    error_free negative_accuracy learning_rate précision 10
""")


@pytest.mark.parametrize("names, sign", [(BETTER_LOWER, -1), (BETTER_HIGHER, 1)])
def test_names_tell_what_is_better(names, sign):
    for name in names:
        for one in (name, f"val_{name.removeprefix('val_')}"):
            assert sign_of(one, "auto") == sign, one
            assert (sign_of(one, "min"), sign_of(one, "max")) == (-1, 1)


@pytest.mark.parametrize("name", [*UNKNOWN, "", " ", "_"])
def test_other_names_are_refused(name):
    with pytest.raises(ValueError, match="monitor: expected mode='min' or mode='max'"):
        sign_of(name, "auto")
    assert (sign_of(name, "min"), sign_of(name, "max")) == (-1, 1)


def test_no_name_is_in_both_tables():
    assert not (LOWER | LOWER_ALONE) & (HIGHER | HIGHER_ALONE)
    assert all(sign_of(name, "auto") == -1 for name in LOWER | LOWER_ALONE)
    assert all(sign_of(name, "auto") == 1 for name in HIGHER | HIGHER_ALONE)


def test_all_figures_of_our_own_are_known():
    for name in metrics._NAMED:
        assert sign_of(name, "auto") == (1 if name == "accuracy" else -1)
    functions = [name for name, value in vars(losses).items()
                 if getattr(value, "__module__", "") == losses.__name__ and callable(value) and name[0] != "_"]
    assert {"mse", "ctc", "quantile", "huber"} <= set(functions)
    for metric in metrics.find_metrics([getattr(losses, name) for name in functions]):
        assert sign_of(metric.name, "auto") == -1, metric.name
