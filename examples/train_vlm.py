"""Train a vision-language model on these datasets, stop it anywhere, and go on with the very next batch.

    python examples/train_vlm.py --data ./irtd:instruct                        # a folder that `irtd build` made
    python examples/train_vlm.py --data you/irtd:instruct --tasks grounding    # the same from the Hub
    python examples/train_vlm.py --data ./irtd:instruct=0.7 ./mmrs_1m:vqa=0.3  # a mixture
    python examples/train_vlm.py --data ./irtd:instruct --resume               # go on from the last checkpoint
    torchrun --nproc-per-node 2 examples/train_vlm.py --data ./irtd:instruct   # two processes

The model is a tiny LLaVA with random weights: it learns the form of the answers and no more. For real work replace
`tiny_llava` by ``from_pretrained``, and give `chat_transform` the model's name as ``target``; all else stays.

TRL's own collator makes the batches, and a plain loop trains on them. Not ``Trainer`` or ``SFTTrainer``: these go on by
counting. They go through the batches that were trained on once more and throw them away, of a stream with all its
images, and count wrongly when the number of processes changes. Here the checkpoint holds the place in the data.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from tiny_llava import tiny_llava
from torch.nn.parallel import DistributedDataParallel
from torchdata.stateful_dataloader import StatefulDataLoader
from transformers import get_constant_schedule_with_warmup
from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

from irtd_datasets.errors import ImageError, IrtdDatasetsError
from irtd_datasets.training import Curriculum, merge_states, stream, table
from irtd_datasets.training.chat import chat_transform
from irtd_datasets.training.curriculum import curriculum_order
from irtd_datasets.training.examples import LeftOut
from irtd_datasets.training.scores import read_scores

# As torchrun sets them.
RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def left_out(error: Exception, row: dict[str, Any]) -> dict[str, Any]:
    """Name a row that cannot be trained on. The answer takes its place, so that all ranks have as many batches."""
    if not isinstance(error, (LeftOut, ImageError)):
        raise error
    print(f"left out {row['id']}: {error}", file=sys.stderr)
    return {"id": row["id"]}


def open_rows(args: argparse.Namespace, **options: Any) -> Any:
    """Rows by number (`table`: shuffles all of an epoch) or one behind the other (`stream`: keeps nothing on disk)."""
    parts = [re.fullmatch(r"(.+?)(?:=(\d*\.?\d+))?", name).groups() for name in args.data]
    data = {name: float(weight) for name, weight in parts if weight} or [name for name, _ in parts]
    if len(data) < len(parts):
        raise SystemExit("Give each dataset a weight (folder:config=0.5), or none.")
    options = {"tasks": args.tasks, "seed": args.seed, **options}
    if not args.stream:
        return table(data, cache_bytes=2**34, **options)
    order = Curriculum(args.curriculum, args.tiers, "difficulty") if args.curriculum else None
    return stream(data, even=True, order=order, **options)


def order_of(rows: Any, args: argparse.Namespace, epoch: int) -> Any:
    """What decides the order of an epoch and knows the place reached in it: a sampler, or the stream itself."""
    if args.stream:
        rows.set_epoch(epoch)
        return rows
    # `even`: as many rows for each rank, since one with a batch more would wait for the others for ever.
    if not args.curriculum:
        return rows.sampler(seed=args.seed, epoch=epoch, even=True)
    ids = [row["id"] for row in open_rows(args, columns=["id"]).__getitems__(range(len(rows)))]
    difficulty = read_scores(args.curriculum, ids)["difficulty"]
    easy_first = curriculum_order(difficulty, tiers=args.tiers, seed=args.seed, epoch=epoch)
    return rows.sampler(seed=args.seed, epoch=epoch, even=True, order=easy_first)


def collate(make_batch: Any, rows: list[dict[str, Any]]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """A batch of TRL's collator, and the ids of its rows."""
    kept = [row for row in rows if "prompt" in row]
    if not kept:
        raise ValueError("no row of a batch can be trained on; the reasons stand above")
    return dict(make_batch(kept)), [row["id"] for row in kept]


def make_loader(args: argparse.Namespace, rows: Any, make_batch: Any, epoch: int, saved: Any = None) -> Any:
    """The loader of an epoch, at its start or where a checkpoint says."""
    order = order_of(rows, args, epoch)
    if not order.left():
        raise SystemExit(f"{' '.join(args.data)}: fewer rows than processes, or none of these tasks")
    state = None
    if saved is not None:
        state = saved["ranks"][RANK]["loader"] if same_shape(args, saved) else None
        if state is None:  # another number of processes or workers: what is left of the epoch is divided anew
            order.load_state_dict(merge_states([rank["loader"] for rank in saved["ranks"]]))
    loader = StatefulDataLoader(
        rows,
        sampler=None if args.stream else order,
        batch_size=args.batch_size,
        num_workers=args.workers,
        collate_fn=partial(collate, make_batch),
    )
    if state is not None:
        loader.load_state_dict(state)
    return loader


def same_shape(args: argparse.Namespace, saved: dict[str, Any]) -> bool:
    """Whether a checkpoint is of as many processes and workers as there are now."""
    return (len(saved["ranks"]), saved["workers"]) == (WORLD, args.workers)


def save(path: Path, loader: StatefulDataLoader, parts: dict[str, Any], **more: Any) -> None:
    """Write a checkpoint; it appears when it is complete, so that a kill at any moment leaves the one before."""
    mine = {"loader": loader.state_dict(), "random": torch.get_rng_state()}
    ranks = [mine] * WORLD
    if WORLD > 1:
        dist.all_gather_object(ranks, mine)  # each rank is at a place of its own
    if RANK == 0:
        states = {name: part.state_dict() for name, part in parts.items()}
        torch.save({**more, **states, "ranks": ranks}, f"{path}.part")
        Path(f"{path}.part").replace(path)


def train(args: argparse.Namespace) -> None:
    """Train up to step ``--steps``, from the start or from the checkpoint."""
    began = time.perf_counter()
    rows = open_rows(
        args,
        columns=["id", "image", "messages", "box_frame", "width", "height"],  # others are not read
        decode="rgb",
        max_side=args.max_side,  # JPEG files are decoded at about this size, not made smaller afterwards
        box_frame="per_mille",  # numbers in the text that do not depend on the size; see also `chat`'s `target`
        transform=chat_transform("trl-prompt"),  # prompt, completion, images: loss on the last answer alone
        on_error=left_out,
    )
    device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu")
    model, processor = tiny_llava(args.seed)
    make_batch = DataCollatorForVisionLanguageModeling(processor, max_length=2048, completion_only_loss=True)
    model.to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    schedule = get_constant_schedule_with_warmup(optimizer, num_warmup_steps=10)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    step, epoch, losses, saved, checkpoint = 0, 0, [], None, args.out / "checkpoint.pt"
    if args.resume:
        saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
        step, epoch, losses = saved["step"], saved["epoch"], saved["losses"]
        for name, part in parts.items():
            part.load_state_dict(saved[name])
    # The last layer of the vision tower has a part that a LLaVA does not use.
    wrapped = DistributedDataParallel(model, find_unused_parameters=True) if WORLD > 1 else model
    loader = make_loader(args, rows, make_batch, epoch, saved)
    batches = iter(loader)
    if saved is not None and same_shape(args, saved):  # after `iter`, which draws a seed for the workers
        torch.set_rng_state(saved["ranks"][RANK]["random"])
    log = (args.out / f"steps-{RANK}.jsonl").open("a" if args.resume else "w", encoding="utf-8", buffering=1)
    clock = {"batches": 0.0, "model": 0.0, "checkpoints": 0.0}
    trained, mark = 0, time.perf_counter()
    setup = mark - began
    while step < args.steps:
        batch, ids = next(batches, (None, []))
        if batch is None:
            epoch += 1
            loader = make_loader(args, rows, make_batch, epoch)
            batches = iter(loader)
            continue
        times = [mark, time.perf_counter()]
        loss = wrapped(**{name: value.to(device) for name, value in batch.items()}).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        step, trained = step + 1, trained + len(ids)
        times.append(time.perf_counter())
        # After a kill the steps behind the checkpoint are done again: of two lines of a step the last counts.
        log.write(json.dumps({"step": step, "epoch": epoch, "loss": losses[-1], "ids": ids}) + "\n")
        if step % args.save_every == 0 or step == args.steps:
            save(checkpoint, loader, parts, step=step, epoch=epoch, losses=losses, workers=args.workers)
        times.append(mark := time.perf_counter())
        clock = {name: clock[name] + times[at + 1] - times[at] for at, name in enumerate(clock)}
        if RANK == 0 and (step % 10 == 0 or step == args.steps):
            print(f"step {step}  epoch {epoch}  loss {median(losses[-10:]):.3f}", flush=True)
    if RANK == 0 and trained:
        report(losses, WORLD * trained, clock, setup)


def report(losses: list[float], trained: int, clock: dict[str, float], setup: float) -> None:
    """Print whether it learnt, how fast, and where the time went."""
    took = sum(clock.values())
    shares = ", ".join(f"{100 * part / took:.0f} % {name}" for name, part in clock.items())
    print(
        f"loss {median(losses[:10]):.3f} at the start, {median(losses[-10:]):.3f} at the end (medians of 10 steps)"
    )
    print(f"{trained / took:.1f} rows/s in {took:.1f} s: {shares}; before them {setup:.1f} s to set up")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", nargs="+", required=True, help="folder or repository, :config, and =weight in a mixture")
    add("--tasks", nargs="+", help="only these tasks, such as grounding")
    add("--stream", action="store_true", help="stream, for a repository that is larger than the disk")
    add("--curriculum", help="a table of scores by id with a column `difficulty`; see examples/curriculum.py")
    add("--tiers", type=int, default=3, help="of the curriculum, from easy to hard")
    add("--out", type=Path, default=Path("out"), help="where the checkpoint and the log go")
    add("--resume", action="store_true", help="go on from the checkpoint in --out")
    add("--steps", type=int, default=150, help="stop after this step")
    add("--save-every", type=int, default=25, help="steps between checkpoints")
    add("--batch-size", type=int, default=8, help="rows of each process")
    add("--workers", type=int, default=1, help="processes that read and decode, of each process; 0 for none")
    add("--max-side", type=int, default=112, help="longest side of decoded images")
    add("--lr", type=float, default=3e-3)
    add("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.resume and not (args.out / "checkpoint.pt").is_file():
        parser.error(f"there is no checkpoint in {args.out}: leave --resume out, or name another --out")
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(
            1
        )  # for a model this small threads cost more than they give; leave it out for a real one
    args.out.mkdir(parents=True, exist_ok=True)
    if WORLD > 1:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group()
    try:
        train(args)
    except IrtdDatasetsError as error:
        raise SystemExit(str(error)) from None
    finally:
        if WORLD > 1:
            dist.destroy_process_group()


if __name__ == "__main__":
    main()
