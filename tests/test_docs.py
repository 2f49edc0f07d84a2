"""What the documentation says is tried: its commands, its code, its links, its tables."""

import ast
import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
WARM = Path(__file__).with_name("warm.py")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")

# Runs Python blocks one after another in one process, each with names of its own and its page's line in a traceback.
RUN_BLOCKS = """
import json, sys
for name, line, code in json.load(sys.stdin):
    exec(compile("\\n" * line + code, name, "exec"), {"__name__": "__main__"})
"""


def page_id(page):
    return page.relative_to(ROOT).as_posix()


def blocks(page):
    """The fenced blocks of a page: language, whether marked to be run, number of the line before the code, code.

    Words behind ``run`` are modules without which a block is not run: ``python run torch``.
    """
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        language, *marks = match[1].split() or [""]
        run = marks[:1] == ["run"] and all(importlib.util.find_spec(module) for module in marks[1:])
        found.append((language, run, text.count("\n", 0, match.start(2)), match[2]))
    return found


def load_generator():
    loader = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generator():
    return load_generator()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """The environment of a user: the command on the path, caches of its own, no network.

    The commands of the pages are run by `warm.py`, which has imported `datasets` and the like once for all of them.
    """
    home = tmp_path_factory.mktemp("home")
    bin_folder = home / "bin"
    place = tempfile.mkdtemp()  # the path of a socket may not be long
    socket = f"{place}/warm"
    bin_folder.mkdir()
    for name, command in {"irtd": "-m irtd_datasets", "python": ""}.items():
        script = bin_folder / name
        script.write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -S -E "{WARM}" run "{socket}" {command} "$@"\n'
        )
        script.chmod(0o755)
    settings = {
        **os.environ,
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "HF_HUB_OFFLINE": "1",
        "OPENBLAS_NUM_THREADS": "1",  # as the command sets it, before NumPy is imported
    }
    with subprocess.Popen(
        [
            sys.executable,
            WARM,
            "serve",
            socket,
            "datasets",
            "huggingface_hub",
            "pyarrow.parquet",
            "typer.main",
        ],
        env=settings,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as server:
        assert server.stdout.readline() == b"ready\n"
        yield settings
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def demo(tmp_path_factory, environment):
    """A folder in which `irtd demo` was run."""
    folder = tmp_path_factory.mktemp("demo")
    execute(["irtd", "demo", "--quiet"], folder, environment)
    return folder / "irtd-demo"


def execute(command, folder, environment, text=None):
    done = subprocess.run(
        command, cwd=folder, env=environment, input=text or "", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", [p for p in PAGES if any(run for _, run, _, _ in blocks(p))], ids=page_id)
def test_examples_run(page, tmp_path, environment, request):
    """The blocks marked to be run succeed one after another, in a folder that has what the page says it starts with."""
    text = page.read_text(encoding="utf-8")
    if "<!-- starts with: irtd demo -->" in text:
        shutil.copytree(request.getfixturevalue("demo"), tmp_path / "irtd-demo")
    waiting = []

    def flush():
        if waiting:
            execute(["python", "-c", RUN_BLOCKS], tmp_path, environment, json.dumps(waiting))
            waiting.clear()

    for language, run, line, code in blocks(page):
        if run and language == "python":
            waiting.append([page_id(page), line, code])
        elif run:
            flush()
            assert language == "bash"
            execute(["bash", "-euo", "pipefail", "-c", code], tmp_path, environment)
    flush()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_blocks_compile(page):
    """Every Python block is Python, whether it is run or not, and every marked block has a language that can be run."""
    for language, run, line, code in blocks(page):
        if language == "python":
            compile("\n" * line + code, page_id(page), "exec")
        assert language in {"bash", "python"} or not run
        assert language, f"{page_id(page)}:{line} has no language"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page):
    """Each link to a file of the project names one that exists, and each anchor a heading of it."""
    for target in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page_id(page)} links to {target}"
        assert linked.is_relative_to(ROOT)
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page_id(page)} links to {target}"


def test_every_page_is_reached_from_the_index():
    """A page that stands in the folder is linked from docs/index.md, which is linked from the README."""
    linked = {(DOCS / target).resolve() for target in LINK.findall((DOCS / "index.md").read_text())}
    assert set(DOCS.rglob("*.md")) - {DOCS / "index.md"} <= linked
    assert "(docs/index.md)" in (ROOT / "README.md").read_text()


def test_readme_has_the_two_commands():
    """A new machine needs exactly these two lines."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert 'pip install . && irtd demo\npip install -e ".[dev]" && pytest\n' in readme
    assert readme.count("pip install") == 3
    assert readme.count('pip install ".[examples]"') == 1  # torch, for a trained step


def test_citation_file_agrees_with_the_package():
    """CITATION.cff has the version of the package and the paper of each dataset."""
    import yaml

    from irtd_datasets import __version__
    from irtd_datasets.catalog import DATASETS, spec

    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == __version__
    papers = {paper["url"]: paper for paper in cited["references"]}
    published = [name for name in DATASETS if spec(name).citation]
    assert set(papers) == {spec(name).paper for name in published}
    for name in published:
        paper, bibtex = papers[spec(name).paper], spec(name).citation
        assert f"title={{{paper['title']}}}" in bibtex
        authors = " and ".join(f"{one['family-names']}, {one['given-names']}" for one in paper["authors"])
        assert f"author={{{authors}}}" in bibtex
        assert f"year={{{paper['year']}}}" in bibtex


def test_gate_runs_the_commands_of_the_readme():
    """The gate installs and tests as the README says, after format, lint and types."""
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    steps = re.findall(r"^run (.+)$", gate, re.MULTILINE)
    assert steps[-5:] == [
        'pip install -q -e ".[dev]"',
        "ruff format --check .",
        "ruff check .",
        "mypy",
        "pytest",
    ]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_tables_are_current(generator):
    """Numbers and names in the documentation are those of the code; `python docs/generate.py` writes them anew."""
    stale = [
        page_id(page)
        for page in generator.pages()
        if generator.filled(page.read_text(), page) != page.read_text()
    ]
    assert not stale, "run `python docs/generate.py` and commit"


def test_generator_notices_a_change(generator):
    """A number that differs from the code is replaced."""
    page = (DOCS / "datasets" / "irtd.md").read_text(encoding="utf-8")
    assert "14,979" in page
    assert generator.filled(page.replace("14,979", "14,980")) == page


def test_contents_refuse_a_page_without_a_place(generator, monkeypatch):
    """A page that the reading order does not list, or lists twice, is an error."""
    order = generator.READING_ORDER
    monkeypatch.setattr(generator, "READING_ORDER", {**order, "Score": ()})
    with pytest.raises(ValueError, match=r"scoring\.md"):
        generator.contents()
    monkeypatch.setattr(generator, "READING_ORDER", {**order, "Score": ("scoring.md", "scoring.md")})
    with pytest.raises(ValueError, match="twice"):
        generator.contents()


def test_glossary_links_first_uses(generator):
    """The first use of a term in prose is linked, whatever form it has; code, headings and links stay as they are."""
    text = "# Ledger\n\nSee `ledger` and [the ledger](x.md). Two ledgers, a ledger.\n\n```text\nledger\n```\n"
    linked = generator.linked(text, "glossary.md")
    assert linked == text.replace("Two ledgers", "Two [ledgers](glossary.md#ledger)")
    assert generator.linked(linked, "glossary.md") == linked
    assert generator.linked("Here a [ledger](glossary.md#ledger) is new.", "../glossary.md") == (
        "Here a [ledger](../glossary.md#ledger) is new."
    )


def test_glossary_is_complete(generator):
    """Every term is linked from some page and names a place in the code that exists."""
    text = (DOCS / "glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^## ([^\n]+)\n\n(.+?)(?=\n\n##|\Z)", text, re.MULTILINE | re.DOTALL)
    elsewhere = "".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "glossary.md")
    assert len(entries) >= 20
    for term, entry in entries:
        assert f"glossary.md#{term.lower().replace(' ', '-')})" in elsewhere, term
        named = re.findall(r"`(irtd_datasets/[\w/.]+)`", entry) + re.findall(r"`(\w+\.csv)`", entry)
        assert named, term
        assert all((ROOT / name).exists() or list(ROOT.glob(f"irtd_datasets/*/{name}")) for name in named), (
            term
        )
        for name, module in re.findall(r"`([A-Z]\w+)(?:\.\w+)?` in\s+`(irtd_datasets/[\w/]+\.py)`", entry):
            assert f"class {name}" in (ROOT / module).read_text(encoding="utf-8"), name


def test_generator_refuses_unknown_parts(generator):
    """A page that asks for a table that does not exist is an error, not an empty place."""
    with pytest.raises(KeyError, match="nothing"):
        generator.filled("<!-- generated: nothing -->\n<!-- end -->")


def public_names():
    return [
        pytest.param(module, name, id=f"{module.__name__}.{name}")
        for module in load_generator().public_modules()
        for name in module.__all__
    ]


@pytest.mark.parametrize(("module", "name"), public_names())
def test_public_names_are_documented(module, name, generator):
    """Each public name exists, has a docstring of its own, and stands in the reference."""
    assert generator.summary(module, name), f"{module.__name__}.{name} has no docstring"
    value = getattr(module, name)
    section = (
        (DOCS / "reference.md").read_text().partition(f"## `{module.__name__}`\n")[2].partition("\n## ")[0]
    )
    assert re.search(rf"^\| `{re.escape(name)}[(`]", section, re.MULTILINE)
    if inspect.isclass(value):
        assert "__doc__" in vars(value)


def test_field_table_covers_the_schema():
    """Each column of the schema stands on the schema page with its own sentence."""
    from irtd_datasets.schema import FIELDS

    page = (DOCS / "schema.md").read_text(encoding="utf-8")
    for field in FIELDS.values():
        assert f"| `{field.name}` | {field.describe_type()} | {field.doc} |" in page


def test_documentation_names_options_that_exist():
    """Each option that a page writes is one that the command line, a script of ours or torchrun knows."""
    from typer.main import get_command

    from irtd_datasets.cli.app import app

    known = {
        option
        for command in get_command(app).commands.values()
        for parameter in command.params
        for option in [*parameter.opts, *parameter.secondary_opts]
    } | {"--help", "--version", "--nproc-per-node"}
    for script in [*(ROOT / "examples").glob("*.py"), *(ROOT / "benchmarks").glob("*.py")]:
        known |= set(re.findall(r'(?:add|add_argument)\("(--[a-z-]+)"', script.read_text(encoding="utf-8")))
    for page in [ROOT / "README.md", *DOCS.rglob("*.md")]:
        lines = page.read_text(encoding="utf-8").splitlines()
        ours = "\n".join(line for line in lines if not re.match(r"(python|swift|torchrun) ", line))
        written = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", ours))
        assert written <= known, page_id(page)


def test_blocks_are_parsed():
    """The reader of the pages sees the blocks that it is meant to try."""
    found = blocks(ROOT / "README.md")
    assert [language for language, run, _, _ in found if run] == ["python", "bash", "python", "python"]
    assert all(ast.parse(code) for language, _, _, code in found if language == "python")
