"""Loads the folder's dataset and exports with LLaMA-Factory and runs its image plugin, without a model."""

import hashlib
import importlib.util
import json
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path


def without_sound():
    """LLaMA-Factory imports torchaudio for sound, which is not needed here and often fits no torch without a GPU."""
    try:
        import torchaudio  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        stand_in = types.ModuleType("torchaudio")
        stand_in.__spec__ = ModuleSpec("torchaudio", None)
        sys.modules["torchaudio"] = stand_in


def adapter(folder):
    found = importlib.util.spec_from_file_location("irtd_llama_factory", Path(folder) / "train.py")
    module = importlib.util.module_from_spec(found)
    sys.modules["irtd_llama_factory"] = module
    found.loader.exec_module(module)


def look(folder, name, *, streaming=False):
    from llamafactory.data.loader import _load_single_dataset
    from llamafactory.data.mm_plugin import get_mm_plugin
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams import DataArguments
    from transformers import Qwen2VLImageProcessor

    data = DataArguments(dataset=name, dataset_dir=folder, media_dir=folder, streaming=streaming)
    model = types.SimpleNamespace(cache_dir=None, hf_hub_token=None, ms_hub_token=None, om_hub_token=None)
    training = types.SimpleNamespace(local_process_index=0, dataloader_num_workers=0)
    images = Qwen2VLImageProcessor()
    processor = types.SimpleNamespace(
        image_processor=images,
        video_processor=images,
        image_max_pixels=768 * 768,
        image_min_pixels=32 * 32,
    )
    plugin = get_mm_plugin("qwen2_vl", image_token="<|image_pad|>", video_token="<|video_pad|>")
    rows, placed, texts = 0, 0, []
    (attributes,) = get_dataset_list([name], folder)
    for row in _load_single_dataset(attributes, model, data, training):
        rows += 1
        talk = [*row["_prompt"], *row["_response"]]
        texts.append(json.dumps(talk))
        made = plugin.process_messages([dict(turn) for turn in talk], row["_images"] or [], [], [], processor)
        placed += sum("<|image_pad|>" in turn["content"] for turn in made)
    digest = hashlib.sha256("\n".join(sorted(texts)).encode()).hexdigest()
    return {"rows": rows, "images placed": placed, "digest": digest}


def main(loaders):
    without_sound()
    adapter(loaders)
    found = {}
    for images in ("files", "parquet"):
        folder = str(Path.cwd() / f"llama-factory-{images}")
        found[f"export {images}"] = look(folder, "irtd_instruct_train")
    found["folder"] = look(loaders, "irtd_instruct")
    found["stream"] = look(loaders, "irtd_instruct", streaming=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
