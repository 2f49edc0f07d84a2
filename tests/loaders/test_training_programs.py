"""The adapters for training programs, run by the programs themselves where they are installed.

They do not go together in one environment, so each is looked for in the Python that a variable names:
IRTD_SWIFT_PYTHON, IRTD_LLAMAFACTORY_PYTHON, IRTD_LMMS_PYTHON. It needs the dependencies of this library as well.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from irtd_datasets.catalog import DATASETS, spec
from irtd_datasets.evaluate import ScoringOptions, Selection, score_file
from irtd_datasets.evaluate.tasks import METRICS
from irtd_datasets.folder.row_groups import config_files, config_names
from irtd_datasets.rows.release import absolute_options
from irtd_datasets.testing import write_sample_release
from irtd_datasets.training.export import ExportOptions, export
from irtd_datasets.writing.engine import build

ROOT = Path(__file__).parents[2]
LOADERS = ROOT / "loaders"
PROGRAMS = Path(__file__).parent / "programs"
DEADLINE = 280


def run(module, variable, program, folder, *arguments):
    """What a program prints as JSON on its last line, run with the Python that has the module."""
    python = os.environ.get(variable)
    if python is None and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed, and {variable} names no Python that has it")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    environment |= {"MODELSCOPE_CACHE": str(folder / "modelscope"), "DISABLE_VERSION_CHECK": "1"}
    done = subprocess.run(
        [python or sys.executable, PROGRAMS / program, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def folder(built, tmp_path_factory):
    """A folder with the dataset folder ``irtd`` and exports of it, as a user has them."""
    root = tmp_path_factory.mktemp("user")
    (root / "irtd").symlink_to(built)
    for layout in ("ms-swift", "llama-factory"):
        for images in ("files", "parquet"):
            export(
                built, "instruct", root / f"{layout}-{images}", ExportOptions("qwen2.5-vl", layout, images)
            )
    return root


def test_llama_factory_names_every_config():
    """dataset_info.json has an entry for each config and split, with our formatting and columns."""
    entries = json.loads((LOADERS / "llama_factory" / "dataset_info.json").read_text(encoding="utf-8"))
    wanted = {
        (name, config.name, split)
        for name in DATASETS
        for config in spec(name).configs
        for split in config.splits
    }
    assert {(one["hf_hub_url"], one["subset"], one["split"]) for one in entries.values()} == wanted
    assert len(entries) == len(wanted)
    assert {one["formatting"] for one in entries.values()} == {"irtd"}


@pytest.mark.slow
def test_ms_swift_loads_the_folder_and_the_exports(folder):
    """ms-swift's own loader gives every row, each box under its token, the same from folder, export and stream."""
    found = run(
        "swift", "IRTD_SWIFT_PYTHON", "with_ms_swift.py", folder, LOADERS / "ms_swift" / "irtd_swift.py"
    )
    rows = found["export files"]["rows"]
    assert rows == 80
    for source, counts in found.items():
        assert counts["rows"] == counts["image tokens"] == counts["images"] == rows, source
        assert counts["bbox tokens"] == counts["boxes"] > 0, source
        assert counts["ref tokens"] == counts["refs"] > 0, source
        assert counts["digest"] == found["export files"]["digest"], source


@pytest.mark.slow
def test_llama_factory_loads_the_folder_and_the_exports(folder):
    """LLaMA-Factory's own loader and image plugin take every row, the same from folder, stream and exports."""
    program = "with_llama_factory.py"
    found = run("llamafactory", "IRTD_LLAMAFACTORY_PYTHON", program, folder, LOADERS / "llama_factory")
    for source, counts in found.items():
        assert counts["rows"] == counts["images placed"] == 80, source
        assert counts["digest"] == found["export files"]["digest"], source


@pytest.mark.slow
def test_lmms_eval_scores_the_benchmark(folder):
    """lmms-eval's own evaluator gives full marks to a model that knows the answers, none to one that is silent."""
    found = run("lmms_eval", "IRTD_LMMS_PYTHON", "with_lmms_eval.py", folder, LOADERS / "lmms_eval")
    tasks = {f"irtd_{member.part.name}" for member in spec("irtd").subset("benchmark").members}
    assert set(found["good"]) == set(found["bad"]) == tasks
    for task in tasks:
        assert found["good"][task].pop("unreadable") == 0
        assert found["bad"][task].pop("unreadable") == 1
        assert found["good"][task].pop("answers") == found["bad"][task].pop("answers") > 0
        for metric, value in found["good"][task].items():
            low = "error" in metric or "distance" in metric
            assert value == pytest.approx(0, abs=0.01) if low else value > 0.95, (task, metric)
            assert found["bad"][task][metric] in ((None,) if low else (0,))


def other_tasks(root):
    """The tasks of lmms-eval outside the benchmark whose config and split the folders in a folder have."""
    found = {}
    for file in sorted((LOADERS / "lmms_eval" / "others").glob("*.yaml")):
        values = dict(line.split(": ", 1) for line in file.read_text().splitlines() if ": " in line)
        if "dataset_path" in values:
            folder, config = root / values["dataset_path"], values["dataset_name"]
            if config in config_names(folder) and values["test_split"] in config_files(folder, config):
                found[values["task"]] = (folder, config, values["test_split"])
    return found


@pytest.mark.slow
def test_lmms_eval_scores_every_other_config(folder, tmp_path):
    """A model that knows gets the best value of each metric; what lmms-eval logs has the same figures here."""
    for name in ("mmrs_1m", "rs_gpt4v"):
        sample = write_sample_release(name, tmp_path / "releases" / name, rows=130, seed=1)
        build(name, ["default"], absolute_options(sample.folder), folder / name)
    tasks = other_tasks(folder)
    assert len(tasks) > 20
    program = "with_lmms_eval_others.py"
    found = run(
        "lmms_eval", "IRTD_LMMS_PYTHON", program, folder, LOADERS / "lmms_eval", tmp_path / "logs", *tasks
    )
    for name, (data, config, split) in tasks.items():
        for who in ("good", "bad"):
            (log,) = (tmp_path / "logs" / who).rglob(f"*samples_{name}.jsonl")
            options = ScoringOptions(resamples=0)
            scores = score_file(log, data, config, options, Selection(splits=[split]))
            (own,) = scores.tasks.values()
            told = found[who][name]
            assert told["unreadable"] == pytest.approx(own.unreadable / own.questions)
            for metric, value in own.metrics.items():
                assert told[metric] == pytest.approx(value.value), (name, metric)
                if who == "good" and METRICS[metric].best is not None:
                    assert value.value == pytest.approx(METRICS[metric].best, abs=1e-6), (name, metric)


@pytest.mark.slow
def test_vlmevalkit_opens_the_table(folder, tmp_path):
    """Its dataset class has a line for each round with the image, and shows the question and the file of the image."""
    checkout = os.environ.get("IRTD_VLMEVALKIT")
    if checkout is None:
        pytest.skip("IRTD_VLMEVALKIT names no checkout of VLMEvalKit")
    report = export(folder / "irtd", "benchmark", tmp_path / "out", ExportOptions("qwen3-vl", "vlmevalkit"))
    (table,) = (tmp_path / "out").glob("*.tsv")
    told = run(
        "pandas", "IRTD_VLMEVALKIT_PYTHON", "with_vlmevalkit.py", folder, checkout, table.parent, table.stem
    )
    found = told[table.stem]
    assert found["rows"] == sum(report.rows.values())
    assert len(set(found["ids"])) == found["rows"]
    assert found["sizes"][-1] == found["image"]
    assert found["text"]
