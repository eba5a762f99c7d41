"""An LSTM with additive attention in PyTorch, the same function as `rnn_seq2seq` with `attention: bahdanau`.

Keys are computed once a batch, and the output layer runs over all positions at once.
"""

import json
import pathlib

import torch
from safetensors.torch import save_file
from torch import nn

CONFIG = {
    "model_type": "rnn_seq2seq", "architectures": ["RnnSeq2Seq"], "cell": "lstm", "vocab_size": 8000,
    "embedding_size": 512, "hidden_size": 512, "num_layers": 2, "bidirectional": True, "attention": "bahdanau",
    "is_encoder_decoder": True, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 3, "decoder_start_token_id": 3,
}  # fmt: skip


class Lstm(nn.Module):
    def __init__(self, config: dict) -> None:
        super().__init__()
        vocabulary, inner, width, layers = (
            config[k] for k in ("vocab_size", "embedding_size", "hidden_size", "num_layers")
        )
        self.encoder = nn.ModuleDict({
            "embed_tokens": nn.Embedding(vocabulary, inner),
            "rnn": nn.LSTM(inner, width // 2, layers, batch_first=True, bidirectional=True),
        })  # fmt: skip
        inputs = [inner + width] + [width] * (layers - 1)
        self.decoder = nn.ModuleDict({
            "embed_tokens": nn.Embedding(vocabulary, inner),
            "rnn": nn.ModuleList(nn.LSTMCell(n, width) for n in inputs),
        })  # fmt: skip
        self.attention = nn.ModuleDict({
            "query": nn.Linear(width, width, bias=False),
            "key": nn.Linear(width, width, bias=False),
            "output": nn.Linear(2 * width, width),
        })  # fmt: skip
        self.attention.v = nn.Parameter(torch.randn(width) * width**-0.5)
        self.lm_head = nn.Linear(width, vocabulary)

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy."""
        memory, (h, c) = self.encoder["rnn"](self.encoder["embed_tokens"](input_ids))
        layers = len(self.decoder["rnn"])
        side_by_side = lambda x: x.unflatten(0, (layers, 2)).transpose(1, 2).flatten(2)
        states = list(zip(side_by_side(h), side_by_side(c)))
        keys = self.attention["key"](memory)
        before = nn.functional.pad(labels[:, :-1], (1, 0), value=3)
        outputs = []
        for x in self.decoder["embed_tokens"](before).unbind(1):
            query = self.attention["query"](states[-1][0])
            weights = (torch.tanh(query[:, None] + keys) @ self.attention.v).softmax(-1)
            context = (weights[:, None] @ memory)[:, 0]
            x = torch.cat([x, context], -1)
            for i, cell in enumerate(self.decoder["rnn"]):
                states[i] = cell(x, states[i])
                x = states[i][0]
            outputs.append(torch.cat([context, x], -1))
        hidden = torch.tanh(self.attention["output"](torch.stack(outputs, 1)))
        return nn.functional.cross_entropy(self.lm_head(hidden).flatten(0, 1), labels.flatten())

    def save(self, folder: pathlib.Path) -> None:
        """Writes a folder that seq2seq loads."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {}
        for name, tensor in self.state_dict().items():
            if name.startswith("decoder.rnn."):
                _, _, layer, kind = name.split(".")
                name = f"decoder.rnn.{kind}_l{layer}"
            tensors[name] = tensor.contiguous()
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
