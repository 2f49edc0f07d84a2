"""Captions by a model: no paid answer is lost, none is asked twice, and none is taken that infrared cannot support."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
from chat_server import GOOD, chat_server
from PIL import Image

from irtd_datasets.captioning.endpoint import Endpoint
from irtd_datasets.captioning.journal import Answer, Journal, read_answers
from irtd_datasets.captioning.run import CaptionJob, CaptionOptions, CaptionReport, caption, estimate
from irtd_datasets.captioning.validate import CaptionLimits, adapt, find_faults
from irtd_datasets.errors import AnnotationError, BuildError, EndpointError


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """The suite runs offline; these tests talk to loopback only."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


def sample_image(number, *, size=(64, 48), level=120, kind="PNG", mode="RGB"):
    """Bytes of an image that differs from those of other numbers."""
    pixels = np.random.default_rng(number).integers(level - 20, level + 20, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def jobs(count, **options):
    return [
        CaptionJob(f"row/{n}", lambda n=n: sample_image(n, **options), f"The image contains {n} cars.")
        for n in range(count)
    ]


def endpoint(server, **options):
    waits = []
    made = Endpoint(
        "vl-model", url=server.url, timeout=options.pop("timeout", 10), _sleep=waits.append, **options
    )
    return made, waits


def run(server, folder, count=6, options=None, **settings):
    made, waits = endpoint(server, **settings)
    report = CaptionReport()
    with Journal(folder / "journal.jsonl") as journal:
        verdicts = list(caption(jobs(count), made, journal, options, report))
    return verdicts, report, waits


def test_every_image_gets_its_caption_in_order(tmp_path):
    """Verdicts come in the order of the rows, a few questions run side by side, and the facts are in the question."""
    with chat_server(delay=0.05) as server:
        verdicts, report, _ = run(server, tmp_path, 12, CaptionOptions(concurrency=4))
        assert 1 < server.most <= 4
    assert [one.id for one in verdicts] == [f"row/{n}" for n in range(12)]
    assert all(one.text.startswith("The image shows") and not one.faults for one in verdicts)
    assert report.as_dict() | {"rejected": {}} == report.as_dict()
    assert (report.accepted, report.asked, report.from_journal) == (12, 12, 0)
    assert (report.input_tokens, report.output_tokens) == (6000, 1200)
    asked = {body["messages"][0]["content"][1]["text"].rpartition("say: ")[2] for body in server.bodies}
    assert asked == {f"The image contains {n} cars. Do not contradict them." for n in range(12)}
    assert {body["model"] for body in server.bodies} == {"vl-model"}


def test_second_run_asks_nothing(tmp_path):
    """Answers are taken from the journal; another model, prompt or image is another question."""
    with chat_server() as server:
        first, _, _ = run(server, tmp_path)
        again, report, _ = run(server, tmp_path)
        assert len(server.asked) == 6
        assert again == first
        assert (report.asked, report.from_journal, report.cost) == (0, 6, 0.0)
        made, _ = endpoint(server)
        other = Endpoint("another", url=server.url)
        with Journal(tmp_path / "journal.jsonl") as journal:
            assert estimate(jobs(7), made, journal, CaptionOptions()).answered == 6
            assert estimate(jobs(7), other, journal, CaptionOptions()).answered == 0
            assert estimate(jobs(7), made, journal, CaptionOptions(words=50)).answered == 0


def test_estimate_says_the_cost_and_sends_nothing(tmp_path):
    """Images count by 28 x 28 pixels as they are sent; prices are per million tokens."""
    options = CaptionOptions(max_side=56, input_price=2.0, output_price=10.0, words=100)
    with chat_server() as server, Journal(tmp_path / "j") as journal:
        made, _ = endpoint(server)
        found = estimate(jobs(3, size=(112, 56)), made, journal, options)
        assert not server.asked
    prompt = (found.input_tokens - 3 * 2) / 3
    assert prompt == int(prompt) > 50
    assert found.output_tokens == 3 * 140
    assert found.cost == pytest.approx((found.input_tokens * 2 + found.output_tokens * 10) / 1e6)


def test_run_stops_before_the_cost_is_passed(tmp_path):
    """What is charged passes `max_cost` by the questions under way at most; a later run goes on with the rest."""
    options = CaptionOptions(concurrency=3, max_cost=0.0021, input_price=1.0, output_price=1.0)
    with chat_server() as server:
        verdicts, report, _ = run(server, tmp_path, 10, options, max_tokens=100)
        assert 0 < report.asked < 10
        one = options.cost(500, 100)
        assert options.max_cost - one < report.cost < options.max_cost + 3 * one
        assert "beyond the cost of 0.0021" in report.stopped
        assert {one.faults for one in verdicts if one.text is None} == {("not-answered",)}
        _, later, _ = run(server, tmp_path, 10, max_tokens=100)
        assert (later.accepted, later.from_journal) == (10, report.asked)
        assert len(server.asked) == 10


@pytest.mark.parametrize("trouble", [500, 503, (429, {"Retry-After": "7"}), "cut", "empty", "stall"], ids=str)
def test_passing_trouble_is_waited_for(tmp_path, trouble):
    """Limits, failures, stalls and cut answers are asked again, after what the server says or longer and longer."""
    with chat_server([trouble, trouble]) as server:
        verdicts, report, waits = run(server, tmp_path, 1, timeout=0.4 if trouble == "stall" else 10)
        assert len(server.asked) == 3
    assert verdicts[0].text
    assert report.failed == 0
    if isinstance(trouble, tuple):
        assert waits == [7.0, 7.0]
    else:
        assert waits[0] < waits[1]
        assert 0.7 < waits[0] < 1.3


def test_lasting_trouble_leaves_a_gap_that_the_next_run_fills(tmp_path):
    """A question without an answer after all attempts is counted as failed; the next run asks it again."""
    with chat_server([500, 500]) as server:
        verdicts, report, _ = run(server, tmp_path, 3, CaptionOptions(concurrency=1), attempts=2)
        assert [one.text is None for one in verdicts] == [True, False, False]
        assert (report.failed, report.accepted, report.stopped) == (1, 2, "")
        verdicts, report, _ = run(server, tmp_path, 3)
        assert (report.asked, report.accepted) == (1, 3)


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("html", "no chat completion"),
        (401, "Give a key that is valid"),
        (404, "Check the address and the name of the model"),
        (402, "no credit left"),
    ],
)
def test_lasting_refusal_stops_the_run(tmp_path, trouble, words):
    """What every question would meet is told at once, not once for each of thousands of images."""
    with chat_server([trouble] * 100) as server:
        with pytest.raises(EndpointError, match=words):
            run(server, tmp_path, 50, CaptionOptions(concurrency=2))
        assert len(server.asked) <= 2
        server.script = ["ok", *[trouble] * 100]
        verdicts, report, _ = run(server, tmp_path, 50, CaptionOptions(concurrency=1))
    assert words in report.stopped
    assert sum(one.text is not None for one in verdicts) == 1


def test_no_server_is_an_error_of_the_endpoint(tmp_path):
    """An address where nobody listens is told as such."""
    with chat_server() as server:
        pass
    with pytest.raises(EndpointError, match=r"no answer after 2 attempts; .*cannot be reached"):
        run(server, tmp_path, 2, attempts=2)


def test_token_stays_at_home(tmp_path, monkeypatch):
    """The Hugging Face token of the user is not sent to another host; a key that was given is."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with chat_server() as server:
        run(server, tmp_path / "a", 1)
        run(server, tmp_path / "b", 1, api_key="sk-mine")
        assert "hf_secret" not in str(server.keys)
        assert server.keys[1] == "Bearer sk-mine"
    assert "sk-mine" not in repr(Endpoint("m", api_key="sk-mine"))


def test_faulty_answer_gets_one_correction(tmp_path):
    """An answer with colours that cannot be taken out is asked to be written again; both answers are in the journal."""
    bad = GOOD.format(n=3) + " The sky is blue."
    with chat_server([bad, "ok"]) as server:
        verdicts, report, _ = run(server, tmp_path, 1)
        assert [messages for _, messages in server.asked] == [1, 3]
        assert "colour: blue" in server.bodies[1]["messages"][2]["content"]
        assert verdicts[0].text
        assert (report.asked, report.accepted) == (2, 1)
    with chat_server([bad, bad]) as server:
        verdicts, report, _ = run(server, tmp_path / "twice", 1)
        assert len(server.asked) == 2
    assert verdicts[0].text is None
    assert verdicts[0].faults == ("colour: blue",)
    assert report.rejected == {"colour": 1}
    kept = list(read_answers(tmp_path / "twice" / "journal.jsonl"))
    assert [(one.turn, one.text) for one in kept] == [(0, bad), (1, bad)]


def test_refusal_is_not_asked_again(tmp_path):
    """A model that refuses an image is not paid for refusing again."""
    with chat_server(["I'm sorry, I can't help with that."]) as server:
        verdicts, _, _ = run(server, tmp_path, 1)
        assert len(server.asked) == 1
    assert verdicts[0].faults == ("refusal",)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", "image-empty"),
        (b"<html></html>", "image-not-an-image"),
        (sample_image(1, level=20)[:-400], "image-truncated"),
        (sample_image(1, level=21, kind="JPEG").replace(b"x", b"x"), "dark"),
    ],
    ids=["empty", "html", "truncated", "dark"],
)
def test_image_that_cannot_be_described_is_not_paid_for(tmp_path, data, fault):
    """Unreadable and dark visible images are told by a code and never sent."""
    if fault == "dark":
        data = sample_image(1, level=20)
    with chat_server() as server, Journal(tmp_path / "j") as journal:
        made, _ = endpoint(server)
        report = CaptionReport()
        verdicts = list(
            caption([CaptionJob("a", lambda: data)], made, journal, CaptionOptions(min_luminance=40), report)
        )
        assert not server.asked
        expected = estimate([CaptionJob("a", lambda: data)], made, journal, CaptionOptions(min_luminance=40))
        assert expected.images == (fault == "dark")  # the estimate decodes nothing
    assert (
        verdicts[0].faults[0].startswith(fault.rpartition("-")[0] if fault.startswith("image-not") else fault)
    )
    assert sum(report.rejected.values()) == 1


def test_large_images_are_sent_small(tmp_path):
    """What is sent is an upright JPEG of at most `max_side`."""
    import base64

    with chat_server() as server, Journal(tmp_path / "j") as journal:
        made, _ = endpoint(server)
        list(caption(jobs(1, size=(400, 100)), made, journal, CaptionOptions(max_side=200)))
        url = server.bodies[0]["messages"][0]["content"][0]["image_url"]["url"]
    with Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2]))) as sent:
        assert (sent.format, sent.size) == ("JPEG", (200, 50))


KILLED = """
import sys
sys.path.insert(0, sys.argv[3])
from pathlib import Path
from test_captioning import jobs
from irtd_datasets.captioning.endpoint import Endpoint
from irtd_datasets.captioning.journal import Journal
from irtd_datasets.captioning.run import CaptionOptions, caption
with Journal(Path(sys.argv[1])) as journal:
    for verdict in caption(jobs(40), Endpoint("vl-model", url=sys.argv[2]), journal, CaptionOptions(concurrency=3)):
        pass
"""


_FOLDERS = os.pathsep.join(str(Path(__file__).parents[height]) for height in (2, 1))
ENVIRONMENT = {**os.environ, "PYTHONPATH": _FOLDERS, "HF_HUB_OFFLINE": "0"}


def test_killed_run_loses_no_answer(tmp_path):
    """After SIGKILL every answer that the server finished giving is in the journal, but for those under way."""
    file = tmp_path / "journal.jsonl"
    with chat_server(delay=0.03) as server:
        program = [sys.executable, "-c", KILLED, str(file), server.url, str(Path(__file__).parent)]
        for _ in range(3):
            before = len(server.asked)
            process = subprocess.Popen(program, env=ENVIRONMENT)
            deadline = time.monotonic() + 60
            while len(server.asked) < before + 5 and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(0.1)
            answered = len(list(read_answers(file)))
            assert len(server.asked) - answered <= 3 * 3  # three runs, three under way each
        subprocess.run(program, check=True, env=ENVIRONMENT)
    keys = [one.key for one in read_answers(file)]
    assert len(keys) == len(set(keys)) == 40


def test_journal_survives_a_cut_line(tmp_path):
    """A line cut by a kill is passed over, a whole one without its end is kept, and new lines are never glued to it."""
    file = tmp_path / "j"
    first, second = Answer("k1", "a", "m", "one"), Answer("k2", "b", "m", "tw\u00f6")
    with Journal(file) as journal:
        journal.add(first)
        journal.add(second)
    whole = file.read_bytes()
    for cut in range(whole.index(b"\n") + 1, len(whole) + 1):
        file.write_bytes(whole[:cut])
        kept = [first, second] if cut >= len(whole) - 1 else [first]
        assert list(read_answers(file)) == kept
        with Journal(file) as journal:
            assert len(journal) == len(kept)
            journal.add(Answer("k3", "c", "m", "three"))
        assert [one.key for one in read_answers(file)] == [*[one.key for one in kept], "k3"]


def test_damaged_journal_is_refused(tmp_path):
    """A damaged line in the middle is an error that names it; the file is not touched."""
    file = tmp_path / "j"
    with Journal(file) as journal:
        journal.add(Answer("k1", "a", "m", "one"))
    good = file.read_bytes()
    for bad in (b"{}\n", b"[1]\n", b'{"key": 1, "id": "", "model": "", "text": ""}\n', b"\xff\xfe\n"):
        file.write_bytes(bad + good)
        with pytest.raises(AnnotationError, match="line 1"):
            Journal(file)
        assert file.read_bytes() == bad + good


def test_journal_has_one_writer(tmp_path):
    """A second run on the same journal is refused while the first is open."""
    with Journal(tmp_path / "j"), pytest.raises(BuildError, match="another run"):
        Journal(tmp_path / "j")
    with Journal(tmp_path / "j"):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(BuildError, match="cannot write"):
        Journal(tmp_path / "file" / "j")


def test_full_disk_keeps_the_answer_in_the_message(tmp_path):
    """When the journal cannot be written the answer stands in the error, ready to be appended by hand."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    answer = Answer("k1", "a", "m", "paid for")
    with Journal(tmp_path / "j") as journal:
        journal._file.close()
        journal._file = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115 - closed with the journal
        with pytest.raises(BuildError, match="No space left") as caught:
            journal.add(answer)
    line = str(caught.value).partition("It was: ")[2].partition("\n")[0]
    assert Answer(**json.loads(line)) == answer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red car stands here.", "A car stands here."),
        ("An orange umbrella.", "An umbrella."),
        ("A green apple tree and an orange bus.", "An apple tree and a bus."),
        ("Red and blue cars wait.", "Cars wait."),
        ("Two dark green, old buses pass.", "Two old buses pass."),
        ("The photograph shows bright yellow signs.", "The image shows signs."),
        ("A colour photo of a colourful market.", "An image of a market."),
        ("The black and white dog and a grey wall.", "The black and white dog and a grey wall."),
        ("The sky is blue.", "The sky is blue."),
        ("They are dressed in red and walk.", "They are dressed in red and walk."),
        ("Greenwich has a Redwood and a bluebird.", "Greenwich has a Redwood and a bluebird."),
    ],
)
def test_colours_are_taken_out_where_grammar_allows(text, expected):
    """A colour before a noun goes with the article mended; one that carries the sentence stays for the validator."""
    found = adapt(text)
    assert found.text == expected
    assert bool(found.changes) == (text != expected)


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (GOOD.format(n=2), []),
        ("Short.", ["too-short"]),
        ("word " * 400 + "end.", ["too-long"]),
        (GOOD.format(n=2)[:-1], ["cut-off"]),
        ("# Title\n" + GOOD.format(n=2), ["markup"]),
        (f'<p class="text">{GOOD.format(n=2)}', ["markup"]),
        (GOOD.format(n=2).replace("road", "\x1b[31mroad\x1b[0m"), ["control"]),
        (GOOD.format(n=2).replace(". ", ".\r\n"), []),
        (
            GOOD.format(n=2) + " Sunlight falls on the blue-green wall.",
            ["colour: blue, green", "light: sunlight"],
        ),
        (GOOD.format(n=2) + " It is a photo.", ["visible: photo"]),
        ("\u56fe\u7247" * 30 + ".", ["too-short", "not-english"]),
        ("I'm sorry, but I cannot view the image. " * 3, ["refusal"]),
        ("As an AI, I describe: " + GOOD.format(n=2), ["refusal"]),
        ("", ["too-short"]),
    ],
)
def test_validator_names_each_fault(text, faults):
    """Length, refusal, markup, language, and words that an infrared image cannot support."""
    assert find_faults(text) == faults


def test_released_captions_pass():
    """The two rule captions that the paper shows have no fault but their length, which is that of rule captions."""
    for text in ("The image contains 1 truck.", "The image contains 7 cars and 15 people."):
        assert find_faults(text, CaptionLimits(min_words=3)) == []


def test_offline_mode_asks_this_machine_alone(tmp_path, monkeypatch):
    """With HF_HUB_OFFLINE an endpoint on this machine is asked all the same, and its failures are told apart."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    forget = getattr(
        huggingface_hub.utils, "reset_sessions", bool
    )  # before 1.0 a session that is open stays as it is
    forget()
    try:
        with chat_server(["ok", 503, "empty", "cut"]) as server:
            verdicts, *_ = run(server, tmp_path, 3)
            assert all(one.text for one in verdicts)
        for script, words in (("html", "no chat completion"), (401, "answered 401")):
            with chat_server([script] * 9) as server, pytest.raises(EndpointError, match=words):
                run(server, tmp_path / words[:2], 1)
    finally:
        forget()
