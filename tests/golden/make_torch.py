"""Writes torch_*.pt and torch.npz beside this file: models of PyTorch, their inputs and what PyTorch puts out.

    python tests/golden/make_torch.py          with torch 2.13
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).parent
BEFORE_1_6 = {"_use_new_zipfile_serialization": False}


class Net(nn.Module):
    """One of somebody's own, whose class no reader has."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 5, padding_idx=0)
        self.lstm = nn.LSTM(5, 4, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.LayerNorm(3), nn.Linear(3, 2, bias=False))

    def forward(self, ids):
        y, _ = self.lstm(self.embedding(ids))
        return self.head(self.drop(y[:, -1]))


def numpy(value):
    return value.detach().float().numpy() if value.dtype == torch.bfloat16 else value.detach().numpy()


def main():
    torch.manual_seed(0)
    x = torch.randn(6, 3, 5)
    ids = torch.tensor([[1, 4, 0, 8], [2, 2, 7, 3]])
    arrays = {"x": numpy(x), "ids": ids.numpy()}

    def keep(name, model, inputs, whole=True, **options):
        model.eval()
        torch.save(model if whole else model.state_dict(), FOLDER / f"torch_{name}.pt", **options)
        y = model(inputs)
        y, *rest = y if isinstance(y, tuple) else (y,)
        arrays[f"{name}.y"] = numpy(y)
        for k, part in enumerate(rest[0] if rest and isinstance(rest[0], tuple) else rest):
            arrays[f"{name}.state{k}"] = numpy(part)

    keep("lstm", nn.LSTM(5, 4, 2, bidirectional=True, proj_size=2, dropout=0.25), x)
    keep("gru", nn.GRU(5, 4, batch_first=True, bias=False), x, False, **BEFORE_1_6)
    keep("rnn", nn.RNN(5, 4, 2, nonlinearity="relu").double(), x.double())
    stack = nn.Sequential(nn.Linear(5, 6), nn.Softplus(beta=2.0), nn.Identity(), nn.GRU(6, 3, batch_first=True))
    keep("stack", stack, x)
    net = Net()
    keep("net", net, ids)
    checkpoint = {"epoch": 3, "best": np.float64(0.5), "model_state": net.state_dict(), "lr": 1e-3,
                  "optimizer": torch.optim.Adam(net.parameters()).state_dict()}
    torch.save(checkpoint, FOLDER / "torch_checkpoint.pt", pickle_protocol=4)
    half = nn.GRU(5, 4).bfloat16()
    torch.save(half.state_dict(), FOLDER / "torch_half.pt", **BEFORE_1_6)
    arrays["half.y"] = numpy(half.float()(x)[0])
    np.savez_compressed(FOLDER / "torch.npz", **arrays)


if __name__ == "__main__":
    main()
