"""Scores a model that knows the answers and one that has none with lmms-eval, on the tasks of every other config."""

import importlib.util
import json
import sys
from pathlib import Path

from lmms_eval import evaluator
from lmms_eval.api.model import lmms
from lmms_eval.loggers import EvaluationTracker
from lmms_eval.tasks import TaskManager


class Speaker(lmms):
    """Says the released answer, or that it cannot."""

    def __init__(self, *, right):
        super().__init__()
        self.right = right

    def generate_until(self, requests):
        return [self.say(*request.args) for request in requests]

    def say(self, prompt, _, visual, number, task, split):
        row = self.task_dict[task][split][number]
        (image,) = visual(row)
        assert image.mode == "RGB"
        assert [one["content"] for one in row["messages"] if one["role"] == "user"][row["round"]] in prompt
        return self.right(row) if self.right else "That cannot be told."

    def loglikelihood(self, requests):
        raise AssertionError("these tasks are answered in words; no task of theirs compares likelihoods")

    def generate_until_multi_round(self, requests):
        raise AssertionError("each round is a document of its own")


def main(tasks, out, *names):
    found = importlib.util.spec_from_file_location("others", Path(tasks) / "others" / "utils.py")
    utils = importlib.util.module_from_spec(found)
    found.loader.exec_module(utils)
    told = {}
    for name, right in (("good", utils.doc_to_target), ("bad", None)):
        results = evaluator.simple_evaluate(
            model=Speaker(right=right),
            tasks=list(names),
            task_manager=TaskManager(include_path=tasks),
            force_simple=True,
            bootstrap_iters=0,
            log_samples=True,
        )
        samples = results.pop("samples")
        tracker = EvaluationTracker(output_path=out)
        tracker.general_config_tracker.model_name_sanitized = name
        when = "20260101_000000"
        tracker.save_results_aggregated(results=results, samples=samples, datetime_str=when)
        for task, rows in samples.items():
            tracker.save_results_samples(task_name=task, samples=rows)
        told[name] = {
            task: {
                key.partition(",")[0]: value
                for key, value in values.items()
                if key.endswith(",none") and "stderr" not in key
            }
            for task, values in results["results"].items()
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
