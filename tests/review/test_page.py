"""The page of `irtd review` in a browser: what is shown, what the keys do, and that nothing of it is lost."""

import contextlib
import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
from processes import environment

from irtd_datasets.errors import AnnotationError, ReleaseNotFoundError, UnknownNameError
from irtd_datasets.review.apply import apply_verdicts
from irtd_datasets.review.rows import Choice, ReviewRows, doubts_of
from irtd_datasets.review.server import MAX_BODY, Review, ReviewServer
from irtd_datasets.review.verdicts import LIMIT, Verdict, VerdictFile, kappa, read_verdicts, text_digest


@contextlib.contextmanager
def served(folder, file, reviewer="anna", config=None, **choice):
    """A review while the block runs."""
    rows = ReviewRows(folder, config, Choice(**choice), reviewer)
    with VerdictFile(file) as verdicts, ReviewServer(Review(rows, verdicts, reviewer)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server, path="", *, method="GET", body=None, **headers):
    """Status, headers and content of an answer."""
    place = urlsplit(server.link)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        names.setdefault("Content-Type", "application/json")
    target = path if path.startswith("/") else place.path + path
    connection.request(method, target, body, names)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def texts_of(folder, name):
    rows = ReviewRows(folder, None, Choice(), "a")
    return [rows.text(position) for position, one in enumerate(rows.ids) if one == name]


def verdict_of(server, position, verdict="accept", **more):
    row = json.loads(ask(server, f"row/{position}")[2])
    return {
        "position": position,
        "id": row["id"],
        "text": row["text"],
        "given": row["given"],
        "verdict": verdict,
        **more,
    }


def judge(server, position, verdict="accept", **more):
    status, _, content = ask(
        server, "verdict", method="POST", body=verdict_of(server, position, verdict, **more)
    )
    return status, json.loads(content)


def started(folder, place):
    """The command as a process, and its link."""
    command = [sys.executable, "-m", "irtd_datasets", "review", f"{folder}:pretrain", "--reviewer", "anna"]
    process = subprocess.Popen(
        command, cwd=place, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    return process, re.search(r"http://127\.0\.0\.1:\d+/\S+/", process.stdout.readline())[0]


# In a browser


def test_keys_judge_rows_and_each_verdict_is_on_disk_first(paired, tmp_path, chromium):
    """Accept, edit and reject with keys; a verdict is on disk when the next row is seen; a partner stands beside."""
    file = tmp_path / "verdicts.jsonl"
    with served(paired, file) as server:
        chromium.requested.clear()
        chromium.problems.clear()
        tab = chromium.tab(server.link)
        tab.wait("document.body.dataset.position === '0'")
        assert tab.run("document.querySelectorAll('figure').length") == 2
        assert tab.run("document.querySelectorAll('figure.visible img')[0].naturalWidth") == 640
        assert tab.run("document.querySelectorAll('.frame path').length") == 2
        tab.key("a")
        tab.wait("document.body.dataset.position === '1'")
        assert [one.verdict for one in read_verdicts(file)] == ["accept"]
        assert tab.run("document.querySelectorAll('figure').length") == 1  # `visible` is null
        tab.key("r")
        tab.wait("document.body.dataset.position === '2'")
        tab.key("e")
        tab.wait("document.activeElement.tagName === 'TEXTAREA'")
        tab.run("document.activeElement.select()")
        tab.paste("The image shows one car.")
        tab.key("Enter", ctrl=True)
        tab.wait("document.body.dataset.position === '3'")
        found = list(read_verdicts(file))
        assert [one.verdict for one in found] == ["accept", "reject", "edit"]
        assert found[2].messages == ("Describe this picture in detail.", "The image shows one car.")
        assert {one.reviewer for one in found} == {"anna"}
        assert "colour: blue" in tab.run("document.getElementById('doubts').textContent")
        assert tab.run("document.getElementById('count').textContent") == "3 of 12 judged"
        tab.key("ArrowLeft")
        tab.wait("document.body.dataset.position === '2'")
        assert "The image shows one car." in tab.run("document.getElementById('earlier').textContent")
        tab.key("n")
        tab.wait("document.body.dataset.position === '3'")
        tab.close()
        port = urlsplit(server.link).port
        assert all(url.startswith((f"http://127.0.0.1:{port}/", "about:")) for url in chromium.requested)
        assert chromium.problems == []


def test_a_closed_browser_is_resumed_at_the_first_row_without_a_verdict(paired, tmp_path, chromium):
    """Closing the browser, or the program, loses nothing: the next one begins where this one stopped."""
    file = tmp_path / "verdicts.jsonl"
    for first in (0, 2):
        with served(paired, file) as server:
            tab = chromium.tab(server.link)
            for position in (first, first + 1):
                tab.wait(f"document.body.dataset.position === '{position}'")
                tab.key("a")
            tab.wait(f"document.body.dataset.position === '{first + 2}'")
            tab.key("e")
            tab.paste("half a sent")
            tab.close()  # in the middle of an edit
    assert [one.id[-1] for one in read_verdicts(file)] == ["0", "1", "2", "3"]


def test_two_tabs_never_overwrite_each_other_unseen(paired, tmp_path, chromium):
    """A tab that shows a row which another tab has judged is told, and shows that verdict before it may change it."""
    file = tmp_path / "verdicts.jsonl"
    with served(paired, file) as server:
        one, two = (chromium.tab(server.link) for _ in range(2))
        for tab in (one, two):
            tab.wait("document.body.dataset.position === '0'")
        one.key("a")
        one.wait("document.body.dataset.position === '1'")
        two.key("r")
        two.wait("document.getElementById('message').textContent.includes('another tab')")
        assert [verdict.verdict for verdict in read_verdicts(file)] == ["accept"]
        assert "Your verdict: accept" in two.run("document.getElementById('earlier').textContent")
        two.key("r")
        two.wait("document.body.dataset.position !== '0'")
        assert [verdict.verdict for verdict in read_verdicts(file)] == ["accept", "reject"]
        one.close()
        two.close()


PASTED = (
    '<img src=x onerror="window.hurt=1"><script>window.hurt=1</script>',
    "</textarea><svg onload=window.hurt=1>",
    "${window.hurt=1}",
)


def test_pasted_markup_stays_text(paired, tmp_path, chromium):
    """HTML in a text is shown as text and kept as text; nothing of it runs."""
    file = tmp_path / "verdicts.jsonl"
    with served(paired, file) as server:
        tab = chromium.tab(server.link)
        for position, text in enumerate(PASTED):
            tab.wait(f"document.body.dataset.position === '{position}'")
            tab.key("e")
            tab.wait("document.activeElement.tagName === 'TEXTAREA'")
            tab.run("document.activeElement.select()")
            tab.paste(text)
            tab.key("Enter", ctrl=True)
            tab.wait(f"document.body.dataset.position === '{position + 1}'")
            tab.key("ArrowLeft")
            tab.wait(f"document.body.dataset.position === '{position}'")
            assert text in tab.run("document.getElementById('earlier').textContent")
            tab.key("n")
        tab.wait(f"document.body.dataset.position === '{len(PASTED)}'")
        assert tab.run("window.hurt === undefined")
        assert tab.run("document.querySelectorAll('#side img, #side script').length") == 0
        tab.close()
    assert [one.messages[-1] for one in read_verdicts(file)] == list(PASTED)


def test_text_that_cannot_be_kept_is_told_and_not_saved(paired, tmp_path, chromium):
    """Far too much text and a terminal's escape are refused on the page with the reason; what was typed stays."""
    file = tmp_path / "verdicts.jsonl"
    with served(paired, file) as server:
        tab = chromium.tab(server.link)
        tab.wait("document.body.dataset.position === '0'")
        tab.key("e")
        tab.run("document.activeElement.value = 'x'.repeat(2_000_000)")
        tab.key("Enter", ctrl=True)
        tab.wait("document.getElementById('message').textContent.includes('at most 100,000')")
        assert tab.run("document.querySelectorAll('textarea')[1].value.length") == 2_000_000
        tab.run("document.activeElement.value = 'The \\u001b[31mcar'")
        tab.key("Enter", ctrl=True)
        tab.wait("document.getElementById('message').textContent.includes('U+001B')")
        tab.run("document.activeElement.value = '  '")
        tab.key("Enter", ctrl=True)
        tab.wait("document.getElementById('message').textContent.includes('empty')")
        tab.key("Escape")
        tab.wait("!document.querySelector('textarea')")
        tab.close()
    assert list(read_verdicts(file)) == []


def test_places_are_edited_where_they_stand(built, tmp_path, chromium):
    """Points of an answer are refused at once where columns cannot follow, and saved where they can; then applied."""
    file = tmp_path / "v.jsonl"
    with served(built, file, config="instruct-location") as server:
        tab = chromium.tab(server.link)
        tab.wait("document.body.dataset.position === '0'")
        tab.key("e")
        tab.wait("document.activeElement.tagName === 'TEXTAREA'")
        label = tab.run("document.activeElement.value").partition("<ref>")[2].partition("</ref>")[0]
        for text, words in (
            (f"{label} at (10, 20)", "expected"),
            (f"<ref>{label}</ref> at <pos>[(900, 514), (10, 520)]</pos>", "from left to right"),
            (f"<ref>{label}</ref> at <pos>[(900, 5140)]</pos>", "outside"),
            (f"<ref>{label}</ref> at <pos>[(250, 500), (500, 250)]</pos>", ""),
        ):
            assert list(read_verdicts(file)) == []
            tab.run("document.activeElement.select()")
            tab.paste(text)
            tab.key("Enter", ctrl=True)
            if words:
                tab.wait(f"document.getElementById('message').textContent.includes({json.dumps(words)})")
        tab.wait("document.body.dataset.position === '1'")
        tab.close()
    (verdict,) = read_verdicts(file)
    assert verdict.verdict == "edit"
    apply_verdicts(built, "instruct-location", [file], tmp_path / "out")
    (row,) = texts_of(tmp_path / "out", verdict.id)
    assert row["answer"] == "[[250, 500], [500, 250]]"
    assert row["objects"]["point"] == [
        [0.25 * row["width"], 0.5 * row["height"]],
        [320.0, 0.25 * row["height"]],
    ]
    assert (row["origin"], row["corrections"][-1]["issue"]) == ("human:anna", "human-edit")


def test_a_program_that_ended_is_told(paired, tmp_path, chromium):
    """When the program is stopped the page says so, and the row stays; nothing is called saved."""
    process, link = started(paired, tmp_path)
    tab = chromium.tab(link)
    tab.wait("document.body.dataset.position === '0'")
    process.kill()
    process.communicate()
    tab.key("a")
    tab.wait("document.getElementById('message').textContent.includes('does not answer')")
    assert tab.run("document.body.dataset.position") == "0"
    tab.close()


# Without a browser


def test_only_this_machine_and_only_this_page_is_answered(paired, tmp_path):
    """Another host name, another origin, a link without the token: nothing is told and nothing is taken."""
    with served(paired, tmp_path / "v.jsonl") as server:
        assert server.server_address[0] == "127.0.0.1"
        port = server.server_address[1]
        assert ask(server, "state")[0] == 200
        assert ask(server, "state", Host=f"localhost:{port}")[0] == 200
        refused = [
            ask(server, "state", Host="evil.example"),
            ask(server, "state", Host=f"evil.example:{port}"),
            ask(server, "state", Host="127.0.0.1"),
            ask(server, "state", Origin="http://evil.example"),
            ask(server, "state", Origin="null"),
            ask(server, "state", Sec_Fetch_Site="cross-site"),
            ask(server, "/state"),
            ask(server, "/wrong/state"),
            ask(server, f"/{server.token[:-1]}/state"),
        ]
        assert {status for status, _, _ in refused} == {403, 421}
        assert all(str(paired).encode() not in content for _, _, content in refused)
        body = verdict_of(server, 0)
        for headers in ({"Origin": "http://evil.example"}, {"Content_Type": "text/plain"}):
            assert ask(server, "verdict", method="POST", body=json.dumps(body).encode(), **headers)[0] in (
                403,
                415,
            )
        assert list(read_verdicts(tmp_path / "v.jsonl")) == []


def test_the_page_forbids_itself_everything_else(paired, tmp_path):
    """The policy allows nothing from elsewhere and no script or style inside the page; the page needs none."""
    with served(paired, tmp_path / "v.jsonl") as server:
        _, headers, page = ask(server)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["Referrer-Policy"] == "no-referrer"
        assert not re.search(rb"https?://|<style|\son\w+=|<script>", page)
        for path in ("review.js", "review.css"):
            status, _, content = ask(server, path)
            assert status == 200
            assert not re.search(rb"https?://(?!www\.w3\.org/2000/svg)", content)
            assert b"innerHTML" not in content
        for path in ("../server.py", "row/-1", "row/99", "row/x", "image/0/original", "image/0/../x", "none"):
            assert ask(server, path)[0] == 404


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"verdict": "like"}, 400, "a verdict is"),
        ({"position": 99}, 400, "names no row"),
        ({"position": "0"}, 400, "names no row"),
        ({"text": "0" * 32}, 409, "another text"),
        ({"id": "made/other"}, 409, "another text"),
        ({"given": 1}, 409, "another tab"),
        ({"verdict": "edit"}, 422, "expected 2 texts"),
        ({"verdict": "edit", "messages": ["a", 1]}, 422, "expected 2 texts"),
        ({"verdict": "edit", "messages": ["a", "b\u0000"]}, 422, "U\\+0000"),
        ({"verdict": "edit", "messages": ["a", "b\u009b31m"]}, 422, "U\\+009B"),
        ({"verdict": "edit", "messages": ["a", "b\ud800"]}, 422, "U\\+D800"),
        ({"verdict": "edit", "messages": ["a", "b" * (LIMIT + 1)]}, 422, "at most"),
        ({"verdict": "edit", "messages": ["a", "[0, 0, 9, 9]"]}, 422, "column objects"),
        ({"reason": 3}, 422, "reason"),
    ],
)
def test_what_is_no_verdict_is_refused(paired, tmp_path, change, status, words):
    """Each wrong request has its answer, and nothing of it is written."""
    with served(paired, tmp_path / "v.jsonl") as server:
        body = {**verdict_of(server, 0), **change}
        found, _, content = ask(server, "verdict", method="POST", body=body)
        told = json.loads(content)
        assert found == status, told
        assert re.search(words, told["problem"])
    assert list(read_verdicts(tmp_path / "v.jsonl")) == []


def test_a_request_that_is_too_large_is_answered(paired, tmp_path):
    """A body of 20 MB is refused with its limit; one that is no JSON, or no object, is refused, too."""
    with served(paired, tmp_path / "v.jsonl") as server:
        status, _, content = ask(
            server, "verdict", method="POST", body=b" " * (20 << 20), Content_Type="application/json"
        )
        assert (status, b"100,000 characters" in content) == (413, True)
        assert MAX_BODY < 20 << 20
        for body in (b"{", b"[1]", b"\xff", b"[" * 100_000):
            assert ask(server, "verdict", method="POST", body=body, Content_Type="application/json")[0] == 400
        assert ask(server, "state")[0] == 200


def test_the_answer_of_a_scored_row_stays_what_it_is(built, tmp_path):
    """Text that follows no longer from the columns is refused, with the reason; the row can still be rejected."""
    with served(built, tmp_path / "v.jsonl", config="instruct-location") as server:
        row = json.loads(ask(server, "row/0")[2])
        assert row["locked"] == ""
        question, answer = (one["content"] for one in row["messages"])
        for texts in ([question, f"{answer}x"], [question, "car: [(1, 2)]"]):
            assert judge(server, 0, "edit", messages=texts)[0] == 422
        assert judge(server, 0, "reject", reason="wrong order")[0] == 200
    (one,) = read_verdicts(tmp_path / "v.jsonl")
    assert (one.verdict, one.reason) == ("reject", "wrong order")


@pytest.mark.parametrize("seconds", [0.0, 0.04])
def test_a_killed_program_keeps_every_verdict_that_it_confirmed(paired, tmp_path, seconds):
    """Killed at any moment while verdicts come in: what was called saved is in the file, and the next start goes on."""
    process, link = started(paired, tmp_path)
    server, confirmed = SimpleNamespace(link=link), []

    def work():
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            for position in range(12):
                confirmed.extend([position] * (judge(server, position)[0] == 200))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(seconds)
    process.kill()
    process.communicate()
    thread.join()
    found = list(read_verdicts(tmp_path / "verdicts.jsonl"))
    assert len(confirmed) <= len(found) <= len(confirmed) + 1
    process, link = started(paired, tmp_path)
    state = json.loads(ask(SimpleNamespace(link=link), "state")[2])
    process.kill()
    process.communicate()
    assert state["done"] == len(found)


def test_an_edit_without_a_change_is_an_acceptance(paired, tmp_path):
    """Saving the text as it was is no edit."""
    with served(paired, tmp_path / "v.jsonl") as server:
        row = json.loads(ask(server, "row/0")[2])
        assert judge(server, 0, "edit", messages=[one["content"] for one in row["messages"]])[0] == 200
    assert [one.verdict for one in read_verdicts(tmp_path / "v.jsonl")] == ["accept"]


def test_several_reviewers_share_a_file_and_see_how_far_they_agree(paired, tmp_path):
    """Two programs append to one file; each sees kappa of the rows that both judged, and no verdict before its own."""
    file = tmp_path / "v.jsonl"
    with served(paired, file) as anna, served(paired, file, "ben") as ben:
        for position, (one, other) in enumerate(
            [("accept", "accept"), ("accept", "reject"), ("reject", "reject")]
        ):
            assert judge(anna, position, one)[0] == 200
            before = json.loads(ask(ben, f"row/{position}")[2])
            assert (before["others"], before["mine"]) == ([], None)
            assert judge(ben, position, other)[0] == 200
            after = json.loads(ask(ben, f"row/{position}")[2])
            assert [(seen["reviewer"], seen["verdict"]) for seen in after["others"]] == [("anna", one)]
        (agreement,) = json.loads(ask(anna, "state")[2])["agreement"]
        assert agreement["reviewers"] == ["anna", "ben"]
        assert (agreement["rows"], agreement["same"]) == (3, 2)
        assert agreement["kappa"] == pytest.approx(0.4)


def test_kappa_is_that_of_the_textbook():
    """Cohen's own definition: none without pairs or variation, 1 for agreement, below 0 for less than chance."""
    assert kappa([]) is None
    assert kappa([("accept", "accept")] * 4) is None
    assert kappa([("a", "a"), ("b", "b")]) == 1
    assert kappa([("a", "b"), ("b", "a")]) == -1
    table = {("yes", "yes"): 20, ("yes", "no"): 5, ("no", "yes"): 10, ("no", "no"): 15}
    assert kappa([pair for pair, count in table.items() for _ in range(count)]) == pytest.approx(0.4)


def test_rows_are_divided_among_reviewers(built, tmp_path):
    """Every row is given to one reviewer, the wanted share to two, the same whoever asks."""
    given = [
        set(ReviewRows(built, "instruct", Choice(among=("a", "b", "c"), twice=0.3), name).ids)
        for name in "abc"
    ]
    everything = set(ReviewRows(built, "instruct", Choice(), "a").ids)
    assert set.union(*given) == everything
    both = sum(map(len, given)) - len(everything)
    assert 0.1 * len(everything) < both < 0.5 * len(everything)
    with pytest.raises(UnknownNameError, match="not among"):
        ReviewRows(built, "instruct", Choice(among=("a", "b")), "z")


def test_a_sample_by_task_or_doubt(built, paired):
    """Rows of a task, rows with a doubt, and a seeded sample, in the order of the folder; none is an error."""
    chosen = ReviewRows(built, "instruct", Choice(tasks=("location",), sample=3, seed=1), "a")
    assert len(chosen) == 3
    assert all("/location/" in one for one in chosen.ids)
    assert chosen.ids != ReviewRows(built, "instruct", Choice(tasks=("location",), sample=3, seed=2), "a").ids
    doubted = ReviewRows(paired, None, Choice(doubts=("colour",)), "a")
    assert [int(one[-2:]) for one in doubted.ids] == [3, 7, 11]
    assert len(ReviewRows(paired, None, Choice(doubts=("any",)), "a")) == 3
    with pytest.raises(ReleaseNotFoundError, match="no row is chosen"):
        ReviewRows(paired, None, Choice(doubts=("markup",)), "a")
    with pytest.raises(UnknownNameError):
        ReviewRows(paired, "no", Choice(), "a")


def test_doubts_are_those_of_the_validator_and_the_issues():
    """Issues stand first; colours are a doubt in infrared only; a scored row has no doubts of texts."""
    talk = [{"role": "assistant", "content": "A red bus. I see **it**"}]
    base = {"messages": talk, "issues": ["caption-from-visible"], "task": 0}
    infrared, optical = (doubts_of({**base, "modality": number}) for number in (0, 1))
    assert infrared == ["caption-from-visible", "cut-off", "markup", "colour: red"]
    assert optical == ["caption-from-visible", "cut-off", "markup"]
    assert doubts_of({**base, "modality": 0, "task": 2}) == ["caption-from-visible"]


def test_a_row_whose_text_was_changed_is_to_be_judged_again(paired, tmp_path):
    """A verdict on another text does not count as done, and the page says so."""
    file = tmp_path / "v.jsonl"
    name = ReviewRows(paired, None, Choice(), "anna").ids[0]
    with VerdictFile(file) as verdicts:
        verdicts.add(Verdict(name, "0" * 32, "accept", "anna"))
    with served(paired, file) as server:
        assert json.loads(ask(server, "state")[2])["first"] == 0
        assert json.loads(ask(server, "row/0")[2])["stale"] is True


def test_a_damaged_file_of_verdicts_is_named(paired, tmp_path):
    """A line in the middle that is no verdict stops with its number; a cut last line is mended."""
    file = tmp_path / "v.jsonl"
    good = json.dumps({"id": "a", "text": "b", "verdict": "accept", "reviewer": "anna"}) + "\n"
    file.write_text(good + good[:20])
    assert len(list(read_verdicts(file))) == 1
    with VerdictFile(file) as verdicts:
        verdicts.add(Verdict("c", "d", "reject", "anna"))
        assert [one.id for one in verdicts.fresh()] == ["a", "c"]
    for bad in ("{}", "[]", '{"id": "a", "text": "b", "verdict": "like", "reviewer": "anna"}',
                '{"id": "a", "text": "b", "verdict": "edit", "reviewer": "anna"}',
                '{"id": "a", "text": "b", "verdict": "accept", "reviewer": ""}'):  # fmt: skip
        file.write_text(f"{good}{bad}\n{good}")
        with pytest.raises(AnnotationError, match="line 2"):
            list(read_verdicts(file))


def test_a_full_disk_says_so_and_the_row_stays_open(paired, tmp_path):
    """A verdict that cannot be written is not called saved; the answer has it, so that it can be appended by hand."""
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    with served(paired, tmp_path / "v.jsonl") as server:
        verdicts = server.review._file
        kept, verdicts._file = verdicts._file, Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
        status, told = judge(server, 0)
        assert status == 507
        assert "No space left" in told["problem"]
        verdicts._file.close()
        verdicts._file = kept
        assert json.loads(ask(server, "state")[2])["done"] == 0


def test_the_command_prints_a_link_and_ends_with_ctrl_c(paired, tmp_path):
    """`irtd review FOLDER:CONFIG` serves until Ctrl-C and then tells how far it came; exit code 0."""
    process, link = started(paired, tmp_path)
    server = SimpleNamespace(link=link)
    assert judge(server, 0)[0] == 200
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "1 of 12 rows judged" in out
    assert len((tmp_path / "verdicts.jsonl").read_text().splitlines()) == 1


def test_digests_tell_texts_apart():
    """Another role, another content, another order: another digest."""
    one = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert text_digest(one) != text_digest(one[::-1])
    assert text_digest(one) != text_digest([one[0], {"role": "assistant", "content": "b "}])
