/* One element type's kernels and their table, for the instruction set of the including file. */
#include "vec.h"
#include "math.inc.h"
#include "gemm.inc.h"
#include "gates.inc.h"
#include "norm.inc.h"
#include "attend.inc.h"
#include "scan.inc.h"

static const fr_kernels FN(table) = {
    .itemsize = sizeof(REAL),
    .lanes = VL,
    .own = {.itemsize = sizeof(REAL), .width = NR, .pack = FN(pack), .multiply = FN(multiply)},
    .gemm_tn = FN(gemm_tn),
    .gemm_tn_work = FR_TN_WORK,
    .sum_rows = FN(sum_rows),
    .add = FN(add),
    .exp_ = FN(map_exp),
    .sigmoid = FN(map_sigmoid),
    .tanh_ = FN(map_tanh),
    .rnn_forward = FN(rnn_forward),
    .rnn_backward = FN(rnn_backward),
    .lstm_forward = FN(lstm_forward),
    .lstm_backward = FN(lstm_backward),
    .gru_forward = FN(gru_forward),
    .gru_backward = FN(gru_backward),
    .gru_reset = FN(gru_reset),
    .gru_update = FN(gru_update),
    .gru_update_backward = FN(gru_update_backward),
    .gru_reset_backward = FN(gru_reset_backward),
    .lstm_cell = FN(lstm_cell),
    .lstm_output = FN(lstm_output),
    .lstm_output_backward = FN(lstm_output_backward),
    .lstm_cell_backward = FN(lstm_cell_backward),
    .norm_forward = FN(norm_forward),
    .norm_backward = FN(norm_backward),
    .attention_scores = FN(attention_scores),
    .weighted_sum = FN(weighted_sum),
    .attention_backward = FN(attention_backward),
    .mingru_forward = FN(mingru_forward),
    .mingru_backward = FN(mingru_backward),
    .minlstm_forward = FN(minlstm_forward),
    .minlstm_backward = FN(minlstm_backward),
    .sru_forward = FN(sru_forward),
    .sru_backward = FN(sru_backward),
    .qrnn_forward = FN(qrnn_forward),
    .qrnn_backward = FN(qrnn_backward),
};
