"""The documentation as a web site: every page is on it, its links lead somewhere, it fits wide and narrow screens."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def program():
    loader = importlib.util.spec_from_file_location("docs_build_site", ROOT / "docs" / "build_site.py")
    module = importlib.util.module_from_spec(loader)
    loader.loader.exec_module(module)
    return module


class Page(HTMLParser):
    """The anchors of a page and what it refers to."""

    def __init__(self, file):
        super().__init__()
        self.anchors, self.links = set(), []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        self.links += [values[name] for name in ("href", "src") if values.get(name)]


def test_the_laid_out_pages_lead_somewhere(program, tmp_path):
    """Each link and image of the pages that the site is made of is a file of it, under the names of the site."""
    program.lay_out(tmp_path)
    pages = sorted(tmp_path.rglob("*.md"))
    assert len(pages) == len(program.pages())
    for page in pages:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        assert "```python run" not in page.read_text(encoding="utf-8")
        for target in LINK.findall(text):
            path = target.partition("#")[0]
            if path and not re.match(r"https?://", target):
                assert (page.parent / path).exists(), f"{page.relative_to(tmp_path)} links to {target}"
    first = (tmp_path / "index.md").read_text(encoding="utf-8")
    contents = "".join(re.findall(r"```\{toctree\}.*?```", first, re.DOTALL))
    listed = re.findall(r"^(?:\w[^<\n]*<)?([\w/.]+)>?$", contents, re.MULTILINE)
    assert {f"{name}.md" for name in listed} | {"index.md"} == {
        page.relative_to(tmp_path).as_posix() for page in pages
    }


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site as `python docs/build_site.py` makes it, which refuses warnings."""
    pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, str(ROOT / "docs" / "build_site.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_links_of_the_site(site, program):
    """Each link of each page leads to a file and an anchor that are there; every public name has an entry."""
    pages = {file: Page(file) for file in site.rglob("*.html")}
    for file, page in pages.items():
        for target in page.links:
            parts = urlsplit(target)
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            linked = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            assert linked.exists(), f"{file.relative_to(site)} links to {target}"
            if parts.fragment and linked in pages:
                assert unquote(parts.fragment) in pages[linked].anchors, f"{file.relative_to(site)}: {target}"
    for module in program.public_modules():
        text = (site / "api" / f"{module.__name__}.html").read_text(encoding="utf-8")
        for name in module.__all__:
            assert f'id="{module.__name__}.{name}"' in text or f">{name}<" in text, (
                f"{module.__name__}.{name}"
            )
    assert "theme-toggle" in (site / "index.html").read_text(encoding="utf-8")
    assert "mosaic" in (site / "searchindex.js").read_text(encoding="utf-8")


PROBE = """<body><script>
const pages = %s, found = {};
(async () => {
  for (const page of pages) for (const width of [390, 1400]) {
    const frame = document.createElement("iframe");
    frame.width = width; frame.height = 900; frame.src = page;
    const loaded = new Promise((done) => { frame.onload = done; });
    document.body.append(frame);
    await loaded;
    const root = frame.contentDocument.documentElement;
    const broken = [...frame.contentDocument.images].filter((one) => !one.naturalWidth).length;
    found[`${page} at ${width}`] = [root.scrollWidth - width, broken];
    frame.remove();
  }
  document.body.dataset.found = JSON.stringify(found);
})();
</script></body>"""


@pytest.mark.slow
def test_the_site_fits_the_screen(site, tmp_path):
    """No page is wider than a phone or a desk screen, and every image is shown."""
    chromium = os.environ.get("CHROMIUM") or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None
    )
    if chromium is None:
        pytest.skip("there is no Chromium here; CHROMIUM names its program")
    pages = [file.as_uri() for file in sorted(site.rglob("*.html")) if "genindex" not in file.name]
    (tmp_path / "probe.html").write_text(PROBE % json.dumps(pages))
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"]
    command += [f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=200000", "--dump-dom"]
    done = subprocess.run(
        [*command, (tmp_path / "probe.html").as_uri()],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    found = re.search(r'data-found="([^"]*)"', done.stdout)
    assert found, done.stderr[-2000:]
    measured = json.loads(found[1].replace("&quot;", '"'))
    assert len(measured) == 2 * len(pages)
    assert {page: values for page, values in measured.items() if values[0] > 0 or values[1]} == {}
