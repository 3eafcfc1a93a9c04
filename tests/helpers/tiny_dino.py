"""A Grounding DINO that is real but small and knows nothing: built from its configuration, with random weights."""

from __future__ import annotations

from pathlib import Path

from engine.segmenters.text import load_transformers

# Where BERT has them, as the model's code takes for granted.
_SPECIAL = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
WORDS = ("the", "a", "red", "mug", "ball", "cup", "##s")


def write_tiny_dino(folder: Path, seed: int = 0) -> Path:
    """Writes the model, its tokenizer and its image processor into ``folder`` as the hub lays them out."""
    transformers = load_transformers()
    import torch

    names = [_SPECIAL.get(index, f"[unused{index}]") for index in range(1030)] + list(WORDS)
    config = transformers.GroundingDinoConfig(
        backbone_config=transformers.SwinConfig(
            image_size=64,
            patch_size=4,
            embed_dim=8,
            depths=[1, 1, 1, 1],
            num_heads=[1, 2, 2, 2],
            window_size=4,
            out_features=["stage2", "stage3", "stage4"],
            out_indices=[2, 3, 4],
        ),
        text_config=transformers.BertConfig(
            vocab_size=len(names),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=64,
        ),
        d_model=32,
        num_queries=12,
        encoder_layers=2,
        encoder_ffn_dim=16,
        encoder_attention_heads=2,
        encoder_n_points=2,
        decoder_layers=2,
        decoder_ffn_dim=16,
        decoder_attention_heads=2,
        decoder_n_points=2,
        num_feature_levels=4,
        max_text_len=32,
    )
    torch.manual_seed(seed)
    model = transformers.GroundingDinoForObjectDetection(config)
    with torch.no_grad():
        # The last layer of the boxes begins at zero; a few random numbers make the boxes differ.
        for head in model.bbox_embed:
            torch.nn.init.normal_(head.layers[-1].weight, std=0.3)
            torch.nn.init.normal_(head.layers[-1].bias, std=0.3)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer = transformers.BertTokenizer(vocab={name: index for index, name in enumerate(names)})
    tokenizer.save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": 96}
    transformers.GroundingDinoImageProcessorPil(size=size).save_pretrained(folder)
    return folder
