"""Score the rows of a dataset from easy to hard, as the IRGPT paper does, for ``train_vlm.py --curriculum``.

    python examples/curriculum.py --data ./irtd:instruct --out scores.parquet          # partners in the rows
    python examples/curriculum.py --data ./irtd:instruct --visible ./rs_gpt4v:default --out scores.parquet
    python examples/train_vlm.py --data ./irtd:instruct --curriculum scores.parquet

Visible images are those of the column `visible`, or, where the rows have none, of another dataset.

A row is hard when its image is far from visible images, and when its image and text do not come together during a
warm-up. The encoders here are toys that need no download: 8 x 8 pixels for images, counted words for texts, and one
matrix between them whose warm-up is a least-squares fit. Replace `see`, `read` and the two matrices by your encoder
before and after its warm-up; all else stays. The scores lie in a table of their own, joined by ``id``.
"""

from __future__ import annotations

import argparse
import re
import zlib

import numpy as np
from PIL import Image

from irtd_datasets.errors import IrtdDatasetsError
from irtd_datasets.training import Table, table
from irtd_datasets.training.curriculum import (
    loss_variation,
    merge_ranks,
    modality_distance,
    sample_weights,
)
from irtd_datasets.training.scores import write_scores

WORDS = 64


def see(pixels: np.ndarray) -> np.ndarray:
    """Features of an image, (64,): the paper turns visible images to grey before the encoder, as here."""
    small = np.asarray(Image.fromarray(pixels).resize((8, 8), Image.Resampling.BOX), float).ravel()
    return (small - small.mean()) / (small.std() + 1)


def read(messages: list[dict[str, str]]) -> np.ndarray:
    """Features of a conversation, (WORDS,)."""
    counts = np.zeros(WORDS)
    for word in re.findall(r"\w+", " ".join(message["content"] for message in messages).lower()):
        counts[zlib.crc32(word.encode()) % WORDS] += 1
    return counts / (np.linalg.norm(counts) + 1e-9)


def alignment_loss(images: np.ndarray, texts: np.ndarray, batch: int = 256) -> np.ndarray:
    """Contrastive loss of each pair among those of its batch, (N,)."""
    images = images / (np.linalg.norm(images, axis=1, keepdims=True) + 1e-9)
    losses = []
    for part in np.array_split(np.arange(len(images)), -(-len(images) // batch)):  # no batch of one pair
        alike = images[part] @ texts[part].T / 0.07
        top = alike.max(axis=1)
        losses.append(np.log(np.exp(alike - top[:, None]).sum(axis=1)) + top - alike.diagonal())
    return np.concatenate(losses)


def main() -> None:
    """Read the command line, score, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", required=True, help="folder or repository with :config, as for train_vlm.py"
    )
    parser.add_argument(
        "--visible", help="any dataset with visible images. Default: the partners in the rows"
    )
    parser.add_argument("--limit", type=int, default=2000, help="visible images that are used")
    parser.add_argument("--out", default="scores.parquet")
    args = parser.parse_args()
    try:
        score(args)
    except IrtdDatasetsError as error:
        raise SystemExit(str(error)) from None


def visible_of_rows(rows: Table, limit: int) -> np.ndarray:
    """Features of the partners that the rows have, each once, in the order of a shuffle."""
    found: dict[bytes, np.ndarray] = {}
    for number in rows.sampler(seed=0):
        partner = rows[number]["visible"]
        if partner is not None:
            found.setdefault(partner.tobytes(), see(partner))
        if len(found) == limit:
            break
    if len(found) < 2:
        raise SystemExit(
            "the rows have no visible partners: name a dataset that has visible images, --visible"
        )
    return np.stack(list(found.values()))


def visible_of_others(args: argparse.Namespace) -> np.ndarray:
    """Features of visible images of another dataset."""
    others = table(
        args.visible,
        columns=["image"],
        modalities=["optical"],
        decode="luminance",
        max_side=64,
        cache_bytes=2**34,
    )
    chosen = list(others.sampler(seed=0))[: args.limit]
    return np.stack([see(others[number]["image"]) for number in chosen])


def score(args: argparse.Namespace) -> None:
    """Write ``difficulty``, what it was made of, and the weights of the samples in the loss."""
    rows = table(args.data, columns=["id", "image", "visible", "messages"], decode="luminance", max_side=64)
    visible = visible_of_others(args) if args.visible else visible_of_rows(rows, args.limit)
    ids, images, texts = zip(
        *(
            (row["id"], see(row["image"]), read(row["messages"]))
            for row in map(rows.__getitem__, range(len(rows)))
        ),
        strict=True,
    )
    infrared, text = np.stack(images), np.stack(texts)
    far = modality_distance(infrared, visible)

    start = np.random.default_rng(0).normal(size=(infrared.shape[1], WORDS)) / WORDS
    fitted = np.linalg.solve(infrared.T @ infrared + np.eye(infrared.shape[1]), infrared.T @ text)
    before, after = alignment_loss(infrared @ start, text), alignment_loss(infrared @ fitted, text)
    variation = loss_variation(before, after)

    write_scores(
        args.out,
        ids,
        difficulty=merge_ranks(far.distance, variation),
        distance=far.distance,
        loss_before=before,
        loss_after=after,
        variation=variation,
        weight=sample_weights(variation),
    )
    losses = f"loss {before.mean():.2f} before the warm-up, {after.mean():.2f} after"
    print(f"{len(ids)} rows scored: distance of the centres {far.mmd:.3f}, {losses}")


if __name__ == "__main__":
    main()
