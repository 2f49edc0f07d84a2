"""A training script for `test_torchrun`: torchrun starts it once per rank; it writes down what it has trained on.

    torchrun --nproc-per-node N torchrun_program.py DATA FOLDER EVERY

FOLDER gets ``checkpoint.json``, written and renamed after every EVERY steps: the rows that the model has seen until
then, and the states of all ranks. Rows behind the last checkpoint are lost with the model, and have to come again.
``steps`` grows by one byte a step, so that the test knows when to kill, and ``pids`` names ranks and their workers.
"""

import json
import os
import sys
from pathlib import Path


def main():
    import torch.distributed as dist
    from torchdata.stateful_dataloader import StatefulDataLoader

    from irtd_datasets.training import merge_states, stream

    data, folder, every = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    saved = folder / "checkpoint.json"
    trained, images = [], 0
    train = stream(data, seed=3, columns=["id", "image"])
    if saved.exists():
        checkpoint = json.loads(saved.read_text())
        trained, images = checkpoint["rows"], checkpoint["images"]
        train.load_state_dict(merge_states(checkpoint["states"]))
    loader = StatefulDataLoader(train, batch_size=4, num_workers=2, collate_fn=list)
    batches = iter(loader)
    with (folder / "pids").open("a") as pids:
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        pids.write(f"{os.getpid()} {children.read_text() if children.exists() else ''}\n")
    step = 0
    while True:
        batch = next(batches, None)
        mine = None if batch is None else [row["id"] for row in batch]
        have = 0 if batch is None else sum(len(row["image"]["bytes"]) > 0 for row in batch if row["image"])
        state = loader.state_dict() if step % every == every - 1 or batch is None else None
        found = [None] * world
        dist.all_gather_object(found, (mine, have, state))
        trained += [name for ids, _, _ in found for name in ids or ()]
        images += sum(count for _, count, _ in found)
        step += 1
        ended = all(ids is None for ids, _, _ in found)
        # A rank that has ended gives its state at every step; a checkpoint needs those of all.
        if rank == 0 and all(state is not None for _, _, state in found):
            staged = folder / ".checkpoint"
            states = [state for _, _, state in found]
            left = {
                "rows": trained,
                "images": images,
                "states": _plain(states),
                "world": world,
                "ended": ended,
            }
            staged.write_text(json.dumps(left))
            staged.replace(saved)
        if rank == 0:
            with (folder / "steps").open("ab") as steps:
                steps.write(b".")
        if ended:
            break
    dist.destroy_process_group()


def _plain(value):
    """What JSON can hold of a loader's state: its generator's tensor has no part in a stream."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


if __name__ == "__main__":
    main()
