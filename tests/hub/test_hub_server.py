"""The Hub of the tests answers plain clients as the real one does, and fails when it is told to."""

import hashlib

import huggingface_hub
import pytest

UPLOAD = """
api.create_repo("tester/plain", repo_type="dataset")
done = api.upload_folder(repo_id="tester/plain", folder_path=sys.argv[1], repo_type="dataset")
say(done.oid)
"""


@pytest.fixture
def folder(tmp_path):
    """A small dataset folder with a large object of 300 kB."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    made = tmp_path / "plain"
    made.mkdir()
    table = pa.table(
        {"n": list(range(3000)), "text": [hashlib.sha512(b"%d" % n).hexdigest() for n in range(3000)]}
    )
    pq.write_table(table, made / "train.parquet", row_group_size=300)
    (made / "README.md").write_text(
        "---\nconfigs:\n- config_name: all\n  data_files: train.parquet\n---\nText\n"
    )
    return made


@pytest.mark.parametrize("part_size", [16 << 20, 100_000])
def test_upload_and_read(hub, client, folder, part_size):
    """A folder is uploaded in one piece or in parts, not sent twice, and read back mapped and streaming by ranges."""
    hub.part_size = part_size
    oid = client(UPLOAD, folder)
    shard = (folder / "train.parquet").read_bytes()
    digest = hashlib.sha256(shard).hexdigest()
    assert hub.file("tester/plain", "train.parquet", oid) == shard
    assert hub.sent_objects() == {digest: len(shard)}
    parts = [r for r in hub.requests if r.method == "PUT"]
    assert len(parts) == -(-len(shard) // part_size)
    assert not any(request.token for request in hub.requests if request.port == "store")
    hub.forget()
    found = client(
        """
api.create_tag("tester/plain", tag="v1", repo_type="dataset")
again = api.upload_folder(repo_id="tester/plain", folder_path=sys.argv[1], repo_type="dataset")
rows = load("tester/plain", "all", split="train")
streamed = load("tester/plain", "all", split="train", streaming=True, revision="v1")
files = api.list_repo_files("tester/plain", repo_type="dataset")
say([again.oid, rows[:]["n"][-1], [row["n"] for row in streamed][-1], files])
""",
        folder,
    )
    assert found == [oid, 2999, 2999, [".gitattributes", "README.md", "train.parquet"]]
    assert not hub.sent_objects()
    assert {r.status for r in hub.requests if r.port == "store" and r.range} == {206}


def test_access(hub, client, folder):
    """Private repositories, read-only tokens, tokens that end and gated files are refused as the Hub refuses them."""
    client(UPLOAD, folder)
    hub.repository("tester/plain").private = True
    read = hub.add_token("tester", role="read")
    stranger = hub.add_token("stranger")
    short = hub.add_token("tester", uses=1)
    found = client(
        """
def refused(call):
    try:
        call()
    except Exception as error:
        return [type(error).__name__, getattr(getattr(error, "response", None), "status_code", None)]
from huggingface_hub import HfApi
read, stranger, short, nobody = (HfApi(token=token) for token in [*sys.argv[1:], False])
name = {"repo_id": "tester/plain", "repo_type": "dataset"}
put = {"path_or_fileobj": b"x", "path_in_repo": "x.txt", **name}
short.repo_info(**name)
say([
    api.repo_info(**name).private,
    read.repo_info(**name).private,
    refused(lambda: read.upload_file(**put)),
    refused(lambda: read.create_repo("tester/new", repo_type="dataset")),
    refused(lambda: stranger.repo_info(**name)),
    refused(lambda: nobody.repo_info(**name)),
    refused(lambda: short.repo_info(**name)),
])
""",
        read,
        stranger,
        short,
    )
    missing = "RepositoryNotFoundError"
    assert found[:4] == [True, True, ["HfHubHTTPError", 403], ["HfHubHTTPError", 403]]
    assert found[4:] == [[missing, 404], [missing, 401], ["HfHubHTTPError", 401]]
    repository = hub.repository("tester/plain")
    repository.private, repository.gated = False, True
    code = """
from huggingface_hub.errors import GatedRepoError
try:
    HfApi(token=sys.argv[1]).hf_hub_download("tester/plain", "README.md", repo_type="dataset")
except GatedRepoError:
    say("gated")
"""
    assert client(code, stranger) == "gated"
    repository.allowed.add("stranger")
    assert client(code, stranger) is None


@pytest.mark.skipif(huggingface_hub.__version__.startswith("0."), reason="this client does not try again")
def test_faults(hub, client, folder):
    """Faults come as asked and as often as asked: status codes, cuts in either direction, something in between."""
    shard = (folder / "train.parquet").read_bytes()
    limited = hub.fail(429, method="POST", path="/preupload/", headers={"Retry-After": "0"})
    failed = hub.fail(500, method="PUT", times=1)
    cut = hub.fail(cut_after=50_000, method="PUT")
    client(UPLOAD, folder)
    assert [limited.hits, failed.hits, cut.hits] == [1, 1, 1]
    assert hub.file("tester/plain", "train.parquet") == shard
    assert sum(hub.sent_objects().values()) >= len(shard) + 50_000
    hub.heal()
    broken = hub.fail(cut_after=10_000, path="/store/")
    other = hub.fail(path="/resolve/", then=lambda: hub.commit("tester/plain", {"NOTES.md": b"hello"}))
    code = 'say(open(api.hf_hub_download("tester/plain", "train.parquet", repo_type="dataset"), "rb").read().__len__())'
    assert client(code) == len(shard)
    assert broken.hits == other.hits == 1
    assert hub.file("tester/plain", "NOTES.md") == b"hello"


def test_parent_commit(hub, client, folder):
    """A commit onto a parent that is no longer the newest commit is refused with 412, and changes nothing."""
    oid = client(UPLOAD, folder)
    hub.commit("tester/plain", {"NOTES.md": b"first"})
    status = client(
        """
from huggingface_hub import CommitOperationAdd
try:
    api.create_commit("tester/plain", [CommitOperationAdd("NOTES.md", b"second")], repo_type="dataset",
                      commit_message="late", parent_commit=sys.argv[1])
except Exception as error:
    say(error.response.status_code)
""",
        oid,
    )
    assert status == 412
    assert hub.file("tester/plain", "NOTES.md") == b"first"


def test_pages(hub, client, folder):
    """A tree of several pages is listed whole."""
    hub.page_size = 3
    for name in range(8):
        (folder / f"{name}.txt").write_text(str(name))
    client(UPLOAD, folder)
    assert client('say(len(api.list_repo_files("tester/plain", repo_type="dataset")))') == 11
    trees = [request for request in hub.requests if "/tree/" in request.path]
    assert (
        client('say(len(list(api.list_repo_tree("tester/plain", repo_type="dataset", recursive=True))))')
        == 11
    )
    again = [request for request in hub.requests if "/tree/" in request.path][len(trees) :]
    assert len({str(request.query) for request in again}) == 4  # a slow answer may be asked for twice
