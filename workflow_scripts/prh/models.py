"""Models: where their weights come from, and which of a repository's files are needed.

`prh.encoders` loads what is fetched here. This module does not import torch: a download job starts at once.
"""

from __future__ import annotations

from pathlib import Path

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
UNSAFE_WEIGHTS = ("*.bin", "*.bin.index.json")
COMPANIONS = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")


class ModelError(ValueError):
    """A model cannot be fetched, loaded or read the way its entry asks for."""


def hub_repository(library: str, identity: str) -> str:
    """The hub repository of an entry: a timm name without a slash is looked up in timm's registry."""
    if library != "timm" or "/" in identity:
        return identity.removeprefix("hf-hub:").removeprefix("hf_hub:")
    from timm.models import get_pretrained_cfg

    try:
        config = get_pretrained_cfg(identity)
    except RuntimeError:
        config = None
    if config is None or not config.hf_hub_id:
        raise ModelError(f"timm has no weights on the hub for {identity!r}; timm.list_pretrained() lists the names.")
    return f"{config.hf_hub_id.rstrip('/')}/{identity}" if config.hf_hub_id == "timm/" else config.hf_hub_id


def fetch_hub(repository: str, revision: str | None, folder: Path) -> tuple[Path, str]:
    """Download config, tokenizer and weights of a hub repository into ``folder``; returns (folder, commit).

    Takes safetensors where the repository has them, else PyTorch files (loaded with weights_only later).
    """
    from huggingface_hub import HfApi, snapshot_download

    info = HfApi().model_info(repository, revision=revision)
    safe = any(file.rfilename.endswith(".safetensors") for file in info.siblings or ())
    patterns = [*COMPANIONS, *(WEIGHTS if safe else UNSAFE_WEIGHTS)]
    snapshot_download(repository, revision=info.sha, local_dir=folder, allow_patterns=patterns)
    return folder, info.sha
