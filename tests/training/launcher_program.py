"""A training script for `test_launchers`: what each rank is given by a launcher, epoch by epoch.

    LAUNCHER launcher_program.py HOW DATA FOLDER

FOLDER gets ``RANK.json``: for each case, the numbers of the rows of each epoch, or the error that came instead.
"""

import itertools
import json
import sys
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from irtd_datasets.errors import IrtdDatasetsError
from irtd_datasets.training import stream, table

BATCH = 4


def collate(rows):
    return {"number": torch.tensor([row["width"] for row in rows])}


def opened(data, kind, *, workers=0, even=False, **options):
    """A loader as one writes it without a launcher, and what decides its order."""
    options = {"batch_size": BATCH, "collate_fn": collate, "num_workers": workers, **options}
    if kind == "stream":
        rows = walk = stream(data, columns=["width"], seed=1, even=even)
    else:
        rows = table(data, columns=["width"])
        walk = options["sampler"] = rows.sampler(seed=1, even=even)
    return walk, DataLoader(rows, **options)


class Model(torch.nn.Module):
    """Remembers what it is trained on."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Linear(1, 1)
        self.seen = []

    def forward(self, number, **_):
        self.seen += number.tolist()
        return {"loss": (self.weight(number.float()[:, None]) * 0).mean(), "logits": number}


def with_accelerate(data, folder):
    from accelerate import Accelerator
    from accelerate.utils import DataLoaderConfiguration

    found = {}
    for kind, dispatch, batches, even, workers in itertools.product(
        ("stream", "table"), (False, True), (False, True), (False, True), (0, 2)
    ):
        if not even and (workers or (kind == "table" and dispatch and len(table(data)) % 2)):
            continue  # an error that one rank meets alone leaves the other one waiting
        config = DataLoaderConfiguration(dispatch_batches=dispatch, even_batches=batches)
        accelerator = Accelerator(cpu=True, dataloader_config=config)
        loader = accelerator.prepare(opened(data, kind, workers=workers, even=even)[1])
        try:
            epochs = [[int(n) for batch in loader for n in batch["number"]] for _ in range(2)]
        except IrtdDatasetsError as error:
            epochs = str(error)
        found[f"{kind} {dispatch} {batches} {even} {workers}"] = epochs
        accelerator.wait_for_everyone()
    return accelerator.process_index, found


def with_trainer(data, folder):
    from transformers import Trainer, TrainingArguments

    found = {}
    for kind in ("stream", "table"):
        model = Model()
        rows = opened(data, kind)[1].dataset
        steps = (
            {"max_steps": len(table(data)) // (2 * BATCH)} if kind == "stream" else {"num_train_epochs": 1}
        )
        arguments = TrainingArguments(
            output_dir=str(folder), per_device_train_batch_size=BATCH, report_to=[], use_cpu=True,
            remove_unused_columns=False, save_strategy="no", disable_tqdm=True, **steps,
        )  # fmt: skip
        trainer = Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)
        trainer.train()
        found[f"trainer {kind}"] = [model.seen]
    return trainer.args.process_index, found


def with_trl(data, folder):
    """Supervised fine-tuning of a small language model, whose words are the numbers of the rows."""
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    words = {f"w{number}": number for number in range(256)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w0")), pad_token="w0", eos_token="w0"
    )
    config = GPT2Config(
        vocab_size=256, n_positions=8, n_embd=8, n_layer=1, n_head=1, bos_token_id=0, eos_token_id=0
    )

    class Own(SFTTrainer):
        def training_step(self, model, inputs, *arguments, **options):
            seen.extend(inputs["input_ids"][:, 0].tolist())
            return super().training_step(model, inputs, *arguments, **options)

    found = {}
    for workers in (0, 2):
        seen = []
        rows = stream(data, columns=["width"], seed=1, even=True,
                      transform=lambda row: dict.fromkeys(("input_ids", "labels"), [row["width"]] * 4))  # fmt: skip
        arguments = SFTConfig(
            output_dir=str(folder), per_device_train_batch_size=BATCH, report_to=[], use_cpu=True, bf16=False,
            save_strategy="no", disable_tqdm=True, max_steps=len(table(data)) // (2 * BATCH) - workers // 2,
            dataloader_num_workers=workers, max_length=None,
        )  # fmt: skip
        trainer = Own(model=GPT2LMHeadModel(config), args=arguments, train_dataset=rows.to_iterable_dataset(),
                      processing_class=tokenizer)  # fmt: skip
        trainer.train()
        found[f"trl {workers}"] = [seen]
    return trainer.args.process_index, found


def each(rows):
    yield from rows


def with_datasets(data, folder):
    """What `datasets` wraps, splits and derives, and torch's pipes, in loaders with workers and without."""
    import torch.distributed as dist
    from datasets import IterableDataset
    from datasets.distributed import split_dataset_by_node
    from torch.utils.data.datapipes.iter import IterableWrapper

    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    found = {}

    def wrapped(rows):
        return IterableDataset.from_generator(each, gen_kwargs={"rows": rows})

    ways = {
        "as it is": lambda rows: rows.to_iterable_dataset(),
        "derived": lambda rows: rows.to_iterable_dataset().map(dict),
        "wrapped": wrapped,
        "split": lambda rows: split_dataset_by_node(wrapped(rows), rank, ranks),
        "derived and split": lambda rows: split_dataset_by_node(
            rows.to_iterable_dataset().map(dict), rank, ranks
        ),
        "piped": lambda rows: IterableWrapper(rows, deepcopy=False).sharding_filter(),
        "piped alone": lambda rows: IterableWrapper(rows, deepcopy=False),
    }
    for (name, way), workers, context in itertools.product(ways.items(), (0, 2), ("fork", "spawn")):
        if context == "spawn" and (not workers or "piped" in name):
            continue
        rows = stream(data, columns=["width"], seed=1)
        loader = DataLoader(way(rows), batch_size=BATCH, collate_fn=collate, num_workers=workers,
                            multiprocessing_context=context if workers else None)  # fmt: skip
        epochs = []
        for epoch in range(2):
            rows.set_epoch(epoch)
            epochs.append([int(n) for batch in loader for n in batch["number"]])
        found[f"{name} {workers} {context}"] = epochs
    dist.destroy_process_group()
    return rank, found


def with_lightning(data, folder):
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = Model()
            self.epochs = []

        def on_train_epoch_start(self):
            self.epochs.append(self.model.seen)

        def training_step(self, batch, _):
            return self.model(**batch)["loss"]

        def on_train_epoch_end(self):
            self.model.seen = []

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    found = {}
    for kind, divides in (("stream", True), ("table", True), ("table", False)):
        module = Module()
        trainer = lightning.Trainer(
            accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=divides,
        )  # fmt: skip
        trainer.fit(module, opened(data, kind)[1])
        found[f"lightning {kind} {divides}"] = module.epochs
    return trainer.global_rank, found


def with_torchrun(data, folder):
    import torch.distributed as dist

    found = {}
    for started, (kind, workers, context) in itertools.product(
        (False, True),
        (("stream", 0, None), ("stream", 2, "fork"), ("stream", 2, "spawn"), ("table", 2, "fork")),
    ):
        if started and not dist.is_initialized():
            dist.init_process_group("gloo")
        walk, loader = opened(data, kind, workers=workers, multiprocessing_context=context)
        epochs = []
        for epoch in range(2):
            walk.set_epoch(epoch)
            epochs.append([int(n) for batch in loader for n in batch["number"]])
        found[f"torchrun {started} {kind} {workers} {context}"] = epochs
    rank = dist.get_rank()
    dist.destroy_process_group()
    return rank, found


if __name__ == "__main__":
    how, data, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    rank, cases = globals()[f"with_{how}"](data, out)
    (out / f"{rank}.json").write_text(json.dumps(cases))
