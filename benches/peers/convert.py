"""Writes the files that other engines read in place of a Hugging Face folder; what exists is left as it is.

usage: convert.py onnx|onnx-int8|ctranslate2|gguf|gguf-q8_0|gguf-q4_0 CHECKPOINT OUTPUT
"""

import json
import os
import pathlib
import sys


def onnx(checkpoint: pathlib.Path, output: pathlib.Path) -> None:
    """The encoder's hidden states, with free batch and length."""
    import torch
    import transformers

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = transformers.AutoModel.from_pretrained(checkpoint, attn_implementation="sdpa").eval()

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            return self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state

    batch, length = torch.export.Dim("batch", max=64), torch.export.Dim("length", max=512)
    example = torch.arange(4, 36).reshape(2, 16)
    torch.onnx.export(
        Encoder().eval(), (example,), str(output), input_names=["ids"], output_names=["hidden"],
        dynamic_shapes=({0: batch, 1: length},), dynamo=True, external_data=False,
    )  # fmt: skip


def onnx_int8(checkpoint: pathlib.Path, output: pathlib.Path) -> None:
    """From `model.onnx` beside the output."""
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(str(output.parent / "model.onnx"), str(output))


def ctranslate2(checkpoint: pathlib.Path, output: pathlib.Path) -> None:
    import ctranslate2
    import transformers

    # The converter reads settings that transformers 5 has dropped.
    dropped = [
        (transformers.BertConfig, "position_embedding_type", "absolute"),
        (transformers.BartConfig, "normalize_before", False),
    ]
    for config, name, value in dropped:
        if not hasattr(config, name):
            setattr(config, name, value)
    ctranslate2.converters.TransformersConverter(str(checkpoint)).convert(str(output))


def gguf(checkpoint: pathlib.Path, output: pathlib.Path) -> None:
    """LLaMA in f16, norms in f32."""
    import gguf as format
    import numpy
    from safetensors import safe_open

    c = json.loads((checkpoint / "config.json").read_text())
    tokens = [f"<{i}>".encode() for i in range(c["vocab_size"])]
    w = format.GGUFWriter(str(output), "llama")
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_rope_dimension_count(c["head_dim"])
    w.add_file_type(format.LlamaFileType.MOSTLY_F16)
    w.add_vocab_size(c["vocab_size"])
    w.add_tokenizer_model("llama")
    w.add_tokenizer_pre("default")
    w.add_token_list(tokens)
    w.add_token_scores([0.0] * len(tokens))
    w.add_token_types([format.TokenType.NORMAL] * len(tokens))
    names = format.get_tensor_name_map(format.MODEL_ARCH.LLAMA, c["num_hidden_layers"])
    with safe_open(checkpoint / "model.safetensors", "pt") as file:
        for key in file.keys():
            tensor = file.get_tensor(key).float().numpy()
            held = tensor if tensor.ndim == 1 else tensor.astype(numpy.float16)
            w.add_tensor(names.get_name(key, try_suffixes=(".weight",)), held)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def gguf_q8_0(checkpoint: pathlib.Path, output: pathlib.Path) -> None:
    gguf_quantised("MOSTLY_Q8_0", output)


def gguf_q4_0(checkpoint: pathlib.Path, output: pathlib.Path) -> None:
    gguf_quantised("MOSTLY_Q4_0", output)


def gguf_quantised(type: str, output: pathlib.Path) -> None:
    """From `f16.gguf` beside the output."""
    import ctypes

    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{type}")
    source = str(output.parent / "f16.gguf").encode()
    if llama_cpp.llama_model_quantize(source, str(output).encode(), ctypes.byref(params)) != 0:
        raise RuntimeError("llama.cpp did not quantise the file")


KINDS = {f.__name__.replace("gguf_", "gguf-").replace("onnx_", "onnx-"): f for f in (onnx, onnx_int8, ctranslate2, gguf, gguf_q8_0, gguf_q4_0)}


def main() -> None:
    kind, checkpoint, output = sys.argv[1], *map(pathlib.Path, sys.argv[2:4])
    if output.exists():
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    # A conversion that is cut off leaves nothing that looks whole.
    unfinished = output.with_name(f"{output.name}.{os.getpid()}.unfinished")
    KINDS[kind](checkpoint, unfinished)
    unfinished.rename(output)


if __name__ == "__main__":
    main()
