"""Model folders of Hugging Face, each made from a small configuration; run where transformers is (`make frameworks`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.frameworks.case import Case

FRAMEWORK = "huggingface"
SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}


def cases() -> list[Case]:
    return [
        *(
            Case(FRAMEWORK, "model folder", kind, _saved(make), **OPTIONS.get(kind, {}))
            for kind, make in MODELS.items()
        ),
        Case(
            FRAMEWORK,
            "model folder",
            "weights that are not there",
            _headless,
            refused="there are no weights for classifier",
        ),
        Case(FRAMEWORK, "model folder", "a class of a later version", _unknown, refused="it was saved by 99.0.0"),
        Case(
            FRAMEWORK,
            "model folder",
            "pickled weights",
            _pickled,
            refused=r"its weights are a pickle \(pytorch_model.bin",
        ),
        Case(FRAMEWORK, "model folder", "code in the folder", _with_code, refused="which is not run"),
        Case(FRAMEWORK, "model folder", "truncated weights", _truncated, refused="cannot load it"),
    ]


def _bert() -> Any:
    import transformers as hf

    return hf.BertForSequenceClassification(hf.BertConfig(**SMALL, num_labels=3))


def _distilbert() -> Any:
    import transformers as hf

    sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "vocab_size": 100}
    return hf.DistilBertForTokenClassification(hf.DistilBertConfig(**sizes))


def _roberta() -> Any:
    import transformers as hf

    return hf.RobertaModel(hf.RobertaConfig(**SMALL))


def _gpt2() -> Any:
    import transformers as hf

    return hf.GPT2LMHeadModel(hf.GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=100, n_positions=64))


def _t5() -> Any:
    import transformers as hf

    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "vocab_size": 100}
    return hf.T5ForConditionalGeneration(hf.T5Config(**sizes, decoder_start_token_id=0))


def _vit() -> Any:
    import transformers as hf

    sizes = {
        name: SMALL[name] for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    }
    return hf.ViTForImageClassification(hf.ViTConfig(**sizes, image_size=32, patch_size=8))


def _resnet() -> Any:
    import transformers as hf

    return hf.ResNetForImageClassification(hf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1]))


def _wav2vec2() -> Any:
    import transformers as hf

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 64}
    convolutions = {"conv_dim": [8, 8], "conv_stride": [5, 2], "conv_kernel": [10, 3], "num_feat_extract_layers": 2}
    positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    return hf.Wav2Vec2ForSequenceClassification(hf.Wav2Vec2Config(**sizes, **convolutions, **positions))


MODELS: dict[str, Callable[[], Any]] = {
    "BERT, classes": _bert,
    "DistilBERT, tokens": _distilbert,
    "RoBERTa, features": _roberta,
    "GPT-2, next token": _gpt2,
    "T5, encoder and decoder": _t5,
    "ViT, pictures": _vit,
    "ResNet, pictures": _resnet,
    "wav2vec 2.0, sound": _wav2vec2,
}


OPTIONS: dict[str, dict[str, Any]] = {  # sound of any length; eight samples would be too few
    "wav2vec 2.0, sound": {"options": {"interface": {"input_values": ("batch", "samples")}}, "dims": {"samples": 400}},
}


def _saved(make: Callable[[], Any]) -> Callable[[Path], str]:
    def save(folder: Path) -> str:
        import torch

        torch.manual_seed(1)
        path = folder / "model"
        model = make()
        for (
            parameter
        ) in model.parameters():  # as after training: transformers begins with weights that do next to nothing
            parameter.data.normal_(0.0, 0.2)
        model.save_pretrained(path)
        if make is _resnet:  # its configuration knows no size: what prepares its pictures does
            (path / "preprocessor_config.json").write_text(json.dumps({"size": {"shortest_edge": 32}}))
        return str(path)

    return save


def _changed(folder: Path, **fields: Any) -> str:
    path = Path(_saved(_bert)(folder))
    config = json.loads((path / "config.json").read_bytes())
    (path / "config.json").write_text(json.dumps({**config, **fields}))
    return str(path)


def _headless(folder: Path) -> str:
    """A backbone saved alone, its configuration taken from the whole model: transformers draws the head at random."""
    import transformers as hf

    path = folder / "model"
    hf.BertModel(hf.BertConfig(**SMALL)).save_pretrained(path)
    config = json.loads((path / "config.json").read_bytes())
    (path / "config.json").write_text(json.dumps({**config, "architectures": ["BertForSequenceClassification"]}))
    return str(path)


def _unknown(folder: Path) -> str:
    return _changed(folder, architectures=["BertForTheFuture"], transformers_version="99.0.0")


def _with_code(folder: Path) -> str:
    return _changed(folder, auto_map={"AutoModel": "modeling.Model"})


def _pickled(folder: Path) -> str:
    path = Path(_saved(_bert)(folder))
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    return str(path)


def _truncated(folder: Path) -> str:
    path = Path(_saved(_bert)(folder))
    weights = path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    return str(path)
