"""Answer the scored rows of a dataset folder with a model in this process, for ``irtd score``.

    python examples/predict_local.py --data ./mmrs_1m:vqa --out vqa.jsonl
    irtd score vqa.jsonl --dataset ./mmrs_1m --config vqa

The model is the tiny LLaVA of ``tiny_llava.py``, with random weights; ``--model NAME`` loads yours by transformers.
Rounds come in the order of their dialogue. Lines are written as they come, and a run that was ended goes on behind the
last whole row.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from datasets import Image, load_dataset
from tiny_llava import tiny_llava

from irtd_datasets.evaluate.predict import predict
from irtd_datasets.images.viewable import viewable

if TYPE_CHECKING:
    from collections.abc import Callable


def load_model(name: str | None) -> tuple[Any, Any]:
    """A model and its processor."""
    if name is None:
        return tiny_llava()
    from transformers import AutoModelForImageTextToText, AutoProcessor

    return AutoModelForImageTextToText.from_pretrained(name, dtype="auto"), AutoProcessor.from_pretrained(
        name
    )


def answerer(model: Any, processor: Any, max_tokens: int, side: int) -> Callable[[dict[str, Any]], str]:
    """The function that `predict` calls with a question: image, and the messages so far."""
    model.eval()

    def answer(asked: dict[str, Any]) -> str:
        image = viewable(asked["image"]["bytes"], side, asked["id"]).image.convert("RGB")
        talk = [
            {"role": one["role"], "content": [{"type": "text", "text": one["content"]}]}
            for one in asked["messages"]
        ]
        talk[0]["content"].insert(0, {"type": "image"})
        text = processor.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
        inputs = processor(images=image, text=text, return_tensors="pt").to(model.device)
        with torch.inference_mode():
            said = model.generate(**inputs, max_new_tokens=max_tokens, do_sample=False)
        return processor.decode(said[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()

    return answer


def rows_done(out: Path) -> list[dict[str, Any]]:
    """What an earlier run answered, without its last row, which may lack rounds, and without a line that was cut."""
    whole = out.read_text(encoding="utf-8").rpartition("\n")[0] if out.exists() else ""
    lines = [json.loads(line) for line in whole.splitlines()]
    return [line for line in lines if line["id"] != lines[-1]["id"]]


def main() -> None:
    """Answer rows and write them down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True, help="dataset folder with :config behind it")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--split", default=None, help="default: all")
    parser.add_argument("--model", default=None, help="a name that transformers knows; default: the tiny one")
    parser.add_argument("--limit", type=int, default=None, help="at most this many rows")
    parser.add_argument("--max-tokens", type=int, default=16)
    parser.add_argument("--max-side", type=int, default=1024, help="of the image, in pixels")
    arguments = parser.parse_args()
    folder, _, config = arguments.data.rpartition(":")
    splits = load_dataset(folder, config, split=arguments.split)
    parts = [splits] if arguments.split else splits.values()
    rows = itertools.islice(
        (row for part in parts for row in part.cast_column("image", Image(decode=False))), arguments.limit
    )
    before = rows_done(arguments.out)
    known = {line["id"] for line in before}
    answer = answerer(*load_model(arguments.model), arguments.max_tokens, arguments.max_side)
    start, count = time.perf_counter(), 0
    with arguments.out.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in before)
        for line in predict((row for row in rows if row["id"] not in known), answer):
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            count += 1
    print(f"{count} answers, {count / (time.perf_counter() - start):.1f} a second; {len(before)} were there")


if __name__ == "__main__":
    main()
