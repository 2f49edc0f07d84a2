"""A training script for `test_killed_launchers`: a launcher starts it once per rank; it notes what it has trained on.

    LAUNCHER killed_program.py HOW DATA FOLDER EVERY EPOCHS RANKS

The loader is made as `docs/launchers.md` says, and not prepared: it divides the rows itself, and its states are exact
in the middle of an epoch. FOLDER gets ``checkpoint.json``, written and renamed after every EVERY steps: epoch and name
of the rows that the model has seen until then, and the states of all ranks. Rows behind the last checkpoint are lost
with the model, and have to come again. ``steps`` grows by one byte a step, so that the test knows when to kill, and
``pids`` names the ranks and their workers.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torchdata.stateful_dataloader import StatefulDataLoader

from irtd_datasets.training import merge_states, stream

BATCH = 4


class Training:
    """What all launchers share: the loader, what was trained on, and the checkpoint."""

    def __init__(self, data, folder, every, epochs):
        self.folder, self.every, self.epochs = Path(folder), int(every), int(epochs)
        self.saved = self.folder / "checkpoint.json"
        self.rows = stream(data, seed=3, columns=["id", "width"], even=True)
        self.epoch, self.trained, self.step = 0, [], 0
        if self.saved.exists():
            checkpoint = json.loads(self.saved.read_text())
            self.trained, self.epoch = checkpoint["rows"], checkpoint["epoch"]
            self.rows.load_state_dict(merge_states(checkpoint["states"]))
        self._loader = None

    @property
    def loader(self):
        """Made late: some launchers start their processes only then."""
        if self._loader is None:
            self._loader = StatefulDataLoader(
                self.rows, batch_size=BATCH, num_workers=1, collate_fn=self.collate
            )
        return self._loader

    @staticmethod
    def collate(rows):
        """Names and one number of a batch, as tensors: launchers move tensors about."""
        numbers = [[*row["id"].encode().ljust(80)] for row in rows]
        return {
            "name": torch.tensor(numbers, dtype=torch.uint8),
            "width": torch.tensor([[row["width"]] for row in rows]).float(),
        }

    def begin(self):
        """Tell the test which processes there are."""
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        with (self.folder / "pids").open("a") as pids:
            pids.write(f"{os.getpid()} {children.read_text() if children.exists() else ''}\n")

    def note(self, batch, *, ended=False):
        """After each step, and at the end of an epoch, on every rank."""
        names = [] if batch is None else [bytes(name).decode().strip() for name in batch["name"].tolist()]
        self.step += 1
        state = None
        if ended or self.step % self.every == 0:
            state = (batch or {}).get("state") or self.loader.state_dict()
        found = [None] * dist.get_world_size()
        dist.all_gather_object(found, (names, state))
        self.trained += [[self.epoch, name] for some, _ in found for name in some]
        if dist.get_rank():
            return
        if all(state is not None for _, state in found):
            staged = self.folder / ".checkpoint"
            left = {"rows": self.trained, "epoch": self.epoch, "ended": ended and self.epoch + 1 >= self.epochs,
                    "states": _plain([state for _, state in found]), "world": len(found)}  # fmt: skip
            staged.write_text(json.dumps(left))
            staged.replace(self.saved)
        with (self.folder / "steps").open("ab") as steps:
            steps.write(b".")

    def run(self, step):
        """The epochs, where the loop is one's own."""
        while self.epoch < self.epochs:
            self.rows.set_epoch(self.epoch)
            batches = iter(self.loader)
            self.begin()
            for batch in batches:
                step(batch)
                self.note(batch)
            self.note(None, ended=True)
            self.epoch += 1


class WithState:
    """Batches, each with the state that the loader had when it gave it: reading ahead changes nothing of that."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        for batch in self.loader:
            yield {**batch, "state": self.loader.state_dict()}


def _plain(value):
    """What JSON can hold of a loader's state: its generator's tensor has no part in a stream."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


class Model(torch.nn.Module):
    """One weight."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Linear(1, 1)

    def forward(self, width, **_):
        return {"loss": (self.weight(width) * 0).mean()}


def with_torchrun(training, _):
    dist.init_process_group("gloo")
    model = torch.nn.parallel.DistributedDataParallel(Model())
    training.run(lambda batch: model(**batch)["loss"].backward())
    dist.destroy_process_group()


def with_accelerate(training, _):
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    model, optimizer = accelerator.prepare(Model(), torch.optim.SGD(Model().parameters(), 0.1))

    def step(batch):
        accelerator.backward(model(**batch)["loss"])
        optimizer.step()

    training.run(step)
    accelerator.end_training()


def with_deepspeed(training, _):
    import deepspeed

    deepspeed.init_distributed("gloo")
    model = torch.nn.parallel.DistributedDataParallel(Model())
    training.run(lambda batch: model(**batch)["loss"].backward())
    dist.destroy_process_group()


def with_lightning(training, ranks):
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = Model()

        def on_train_epoch_start(self):
            training.begin()

        def training_step(self, batch, _):
            return self.model(**batch)["loss"]

        def on_train_batch_end(self, _, batch, __):
            training.note(batch)

        def on_train_epoch_end(self):
            training.note(None, ended=True)
            training.epoch += 1
            training.rows.set_epoch(training.epoch)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    training.rows.set_epoch(training.epoch)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=ranks, strategy="ddp", max_epochs=training.epochs - training.epoch, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(Module(), WithState(training.loader))  # it reads one batch ahead


def with_trainer(training, _):
    from transformers import Trainer, TrainingArguments

    _train(training, Trainer, TrainingArguments, Model)


def with_trl(training, _):
    """Supervised fine-tuning of a small language model on the names of the rows."""
    from tokenizers import Tokenizer, models
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    words = {"<pad>": 0, **{chr(code): code for code in range(1, 256)}}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<pad>")), pad_token="<pad>", eos_token="<pad>"
    )  # fmt: skip
    config = GPT2Config(vocab_size=256, n_positions=80, n_embd=8, n_layer=1, n_head=1, pad_token_id=0,
                        bos_token_id=0, eos_token_id=0)  # fmt: skip
    _train(training, SFTTrainer, SFTConfig, lambda: GPT2LMHeadModel(config), processing_class=tokenizer,
           settings={"dataset_kwargs": {"skip_prepare_dataset": True}})  # fmt: skip


def _train(training, base, arguments, model, settings=None, **options):
    """An epoch a trainer, with the loader of one's own."""

    class Own(base):
        def get_train_dataloader(self):
            return training.loader

        def training_step(self, model, inputs, *arguments, **options):
            tokens = inputs["name"].long()
            given = dict.fromkeys(("input_ids", "labels", "attention_mask"), tokens) if of_text else inputs
            loss = super().training_step(model, given, *arguments, **options)
            training.note(inputs)
            return loss

    of_text = bool(options)  # a language model
    while training.epoch < training.epochs:
        given = arguments(
            output_dir=str(training.folder), per_device_train_batch_size=BATCH, report_to=[], use_cpu=True,
            remove_unused_columns=False, save_strategy="no", disable_tqdm=True, max_steps=1_000_000, bf16=False,
            **(settings or {}),
        )  # fmt: skip
        before = training.epoch
        given_rows = training.rows.to_iterable_dataset() if of_text else training.rows
        trainer = Own(model=model(), args=given, train_dataset=given_rows, data_collator=training.collate,
                      callbacks=[_one_epoch(training)], **options)  # fmt: skip
        trainer.train()
        assert training.epoch == before + 1


def _one_epoch(training):
    from transformers import TrainerCallback

    class OneEpoch(TrainerCallback):
        def on_epoch_begin(self, *_, **__):
            training.rows.set_epoch(training.epoch)
            training.begin()

        def on_epoch_end(self, _, __, control, **___):
            training.note(None, ended=True)
            training.epoch += 1
            control.should_training_stop = True

    return OneEpoch()


if __name__ == "__main__":
    how, data, out, every, epochs, ranks = sys.argv[1:7]
    globals()[f"with_{how}"](Training(data, out, every, epochs), int(ranks))
