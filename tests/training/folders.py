"""Dataset folders made for the tests of reading: any number of rows, small images, the columns that matter."""

import hashlib
import io
import traceback
from collections import deque

import numpy as np
import pyarrow as pa
from PIL import Image

from irtd_datasets.folder.index import write_folder_index
from irtd_datasets.folder.manifest import Manifest
from irtd_datasets.folder.parts import BuiltPart, ShardResult
from irtd_datasets.rows.image_column import ImageColumn
from irtd_datasets.rows.record_counts import RecordCounts
from irtd_datasets.schema import MODALITIES, TASKS
from irtd_datasets.writing.write import RowGroup, write_shard

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", IMAGE),
        ("visible", IMAGE),
        ("task", pa.int64()),
        ("modality", pa.int64()),
        ("source", pa.string()),
        ("messages", MESSAGES),
        ("width", pa.int32()),
        ("issues", pa.list_(pa.string())),
    ]
)


def sample_image(number, size=300):
    """Bytes that only this image has; no real image."""
    return hashlib.sha512(b"%d" % number).digest() * (size // 64 + number % 3)


def png(shade):
    file = io.BytesIO()
    Image.fromarray(np.full((4, 6), shade, np.uint8)).save(file, "PNG")
    return file.getvalue()


def row_of(number, prefix="made"):
    return {
        "id": f"{prefix}/{number:06d}",
        "task": number % len(TASKS),
        "modality": number % len(MODALITIES),
        "source": f"source-{number % 5}" if number % 7 else None,
        "messages": [{"role": "user", "content": f"Wo ist Nummer {number}? ü"}] * (number % 3),
        "width": number,
        "issues": [["odd"], [], [], ["odd", "strange"]][number % 4],
    }


def make_folder(
    root, rows=200, *, shards=2, group=20, per_image=1, prefix="made", index=True, data=sample_image
):
    """Write a folder with one config, ``all``; every 11th row has no image. Returns the rows as readers see them."""
    expected = []
    written = []
    ends = [rows * (shard + 1) // shards for shard in range(shards)]
    first = 0
    for shard, end in enumerate(ends):
        groups = []
        for start in range(first, end, group):
            numbers = list(range(start, min(start + group, end)))
            kinds = sorted({number // per_image for number in numbers})
            place = [-1 if n % 11 == 10 else kinds.index(n // per_image) for n in numbers]
            column = ImageColumn.of([data(kind) for kind in kinds], place)
            records = [row_of(number, prefix) for number in numbers]
            groups.append(RowGroup(records, {"image": column, "visible": ImageColumn.null(len(numbers))}))
            for record, where in zip(records, place, strict=True):
                image = None if where < 0 else {"bytes": data(kinds[where]), "path": None}
                expected.append({**record, "image": image, "visible": None})
        name = f"data/part/train-{shard:05d}-of-{shards:05d}.parquet"
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        summary = write_shard(path, SCHEMA, groups)
        written.append(ShardResult("", summary, RecordCounts(found=summary.rows, kept=summary.rows)))
        first = end
    (root / "README.md").write_text(
        "---\nconfigs:\n- config_name: all\n  data_files:\n  - split: train\n    path: data/part/train-*\n---\n# Made\n"
    )
    part = BuiltPart("data", "part", "train", "", tuple(written), RecordCounts())
    (root / "manifest.json").write_text(Manifest("made", "1", 0, (), (part,), {}).render())
    if index:
        write_folder_index(root, part.named_digests())
    return expected


class Workers:
    """A DataLoader with workers, without torch: each worker has a copy of the stream, and gives a batch in its turn.

    As torch's StatefulDataLoader it gives the states that the workers had when they gave the batches that came out,
    not those of batches that were read ahead.
    """

    def __init__(self, streams, batch=4, ahead=2):
        self._streams = streams
        self._batch = batch
        self._ahead = ahead
        self._states = [stream.state_dict() for stream in streams]

    def __iter__(self):
        iterators = [iter(stream) for stream in self._streams]
        self._states = [stream.state_dict() for stream in self._streams]
        ready = [deque() for _ in iterators]
        alive = set(range(len(iterators)))
        while alive:
            for number in sorted(alive):
                while len(ready[number]) < self._ahead:
                    rows = [row for _, row in zip(range(self._batch), iterators[number], strict=False)]
                    ready[number].append((rows, self._streams[number].state_dict()))
                    if len(rows) < self._batch:
                        break
                rows, self._states[number] = ready[number].popleft()
                if rows:
                    yield rows
                if len(rows) < self._batch:
                    alive.discard(number)

    def state_dict(self):
        return {"workers": self._states}


def all_batches(loader):
    """The batches of a loader, whose workers are ended at once when it fails.

    Otherwise the garbage collector ends them, which closes the channel to them first and then waits for five seconds.
    """
    try:
        return list(loader)
    except BaseException as error:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            end = getattr(frame.f_locals.get("self"), "_shutdown_workers", None)
            if end is not None:
                end()
        raise
