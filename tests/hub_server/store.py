"""Repositories on disk: refs, commits with whole trees, small files, large objects."""

import datetime as dt
import hashlib
import json
import os
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path


class RefusedError(Exception):
    """An answer other than success."""

    def __init__(self, status, message, code=None, **extra):
        super().__init__(message)
        self.status, self.message, self.code, self.extra = status, message, code, extra


def git_oid(content):
    """SHA-1 that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class Entry:
    """A file in a tree; ``lfs`` is the SHA-256 of a large object."""

    oid: str
    size: int
    lfs: str | None = None

    @classmethod
    def of_object(cls, sha256, size):
        return cls(git_oid(pointer(sha256, size)), size, sha256)


def pointer(sha256, size):
    """The text that git keeps in place of a large object."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()


class Repository:
    """One repository.

    Attributes:
        private: Only its owner and the owner's organisations see it.
        gated: Everybody sees it, only ``allowed`` users get its files.
    """

    def __init__(self, folder, kind, name):
        self.folder, self.kind, self.name = folder, kind, name
        self.lock = threading.RLock()
        self.private = False
        self.gated = False
        self.allowed = set()
        self.branches, self.tags, self.converts, self.pulls = {}, {}, {}, {}
        if (folder / "repository.json").is_file():
            state = json.loads((folder / "repository.json").read_text())
            state["allowed"] = set(state["allowed"])
            self.__dict__.update(state)

    @property
    def owner(self):
        return self.name.partition("/")[0]

    def create(self, user, private):
        for part in ("commits", "blobs", "objects", "parts"):
            (self.folder / part).mkdir(parents=True)
        self.private = private
        attributes = "".join(
            f"*.{end} filter=lfs diff=lfs merge=lfs -text\n" for end in sorted(LARGE)
        ).encode()
        tree = {".gitattributes": self.add_blob(attributes)}
        self.branches["main"] = self._write_commit({}, tree, "initial commit", "", user)
        self.save()

    def save(self):
        keys = ("private", "gated", "allowed", "branches", "tags", "converts", "pulls")
        state = {key: getattr(self, key) for key in keys}
        write_whole(self.folder / "repository.json", json.dumps(state, default=sorted).encode())

    def refs(self):
        """Commits by what names them, all kinds together."""
        return {
            **self.tags,
            **{f"refs/heads/{name}": oid for name, oid in self.branches.items()},
            **{f"refs/tags/{name}": oid for name, oid in self.tags.items()},
            **{f"refs/convert/{name}": oid for name, oid in self.converts.items()},
            **{f"refs/pr/{number}": oid for number, oid in self.pulls.items()},
            **self.branches,
        }

    def resolve(self, revision):
        """Commit id of a branch, tag, ref or commit id."""
        found = self.refs().get(revision)
        if (
            found is None
            and revision
            and all(c in "0123456789abcdef" for c in revision)
            and len(revision) >= 7
        ):
            known = [path.stem for path in (self.folder / "commits").glob(f"{revision}*.json")]
            found = known[0] if len(known) == 1 else None
        if found is None:
            raise RefusedError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return found

    def commit(self, oid):
        return json.loads((self.folder / "commits" / f"{oid}.json").read_text())

    def tree(self, revision):
        """Files of a revision, by path."""
        return {path: Entry(*values) for path, values in self.commit(self.resolve(revision))["tree"].items()}

    def history(self, revision):
        """Commits from newest to oldest."""
        found, oid = [], self.resolve(revision)
        while oid:
            commit = self.commit(oid)
            found.append({"id": oid, **commit})
            oid = commit["parent"]
        return found

    def blob(self, oid):
        return self.folder / "blobs" / oid

    def object(self, sha256):
        return self.folder / "objects" / sha256

    def has_object(self, sha256):
        return self.object(sha256).is_file()

    def path_of(self, entry):
        """Where the bytes of a file are."""
        return self.object(entry.lfs) if entry.lfs else self.blob(entry.oid)

    def add_blob(self, content):
        oid = git_oid(content)
        if not self.blob(oid).is_file():
            write_whole(self.blob(oid), content)
        return Entry(oid, len(content))

    def apply(self, branch, changes, *, title, message, user, parent=None, onto=None):
        """Commit changes to a branch.

        Args:
            branch: Name of the branch, or ``refs/pr/N``.
            changes: Function from the tree to the new tree.
            title: First line of the message.
            message: The rest.
            user: Who commits.
            parent: The commit that the branch has to be at.
            onto: Makes a pull request of this number on top of the branch instead.
        """
        with self.lock:
            table, key = (
                (self.pulls, branch[8:]) if branch.startswith("refs/pr/") else (self.branches, branch)
            )
            head = table.get(key)
            if head is None:
                raise RefusedError(404, f"Invalid rev id: {branch}", "RevisionNotFound")
            if parent is not None and not head.startswith(parent):
                raise RefusedError(412, "A commit has happened since. Please refresh and try again.")
            old = self.commit(head)
            tree = changes({path: Entry(*values) for path, values in old["tree"].items()})
            oid = self._write_commit({"parent": head}, tree, title, message, user)
            if onto is not None:
                table, key = self.pulls, str(onto)
            table[key] = oid
            self.save()
            return oid

    def squash(self, branch, title, user):
        """Replace the history of a branch by one commit."""
        with self.lock:
            tree = self.tree(branch)
            self.branches[branch] = self._write_commit({}, tree, title, "", user)
            self.save()

    def _write_commit(self, base, tree, title, message, user):
        now = dt.datetime.now(dt.timezone.utc)
        commit = {
            "parent": base.get("parent"),
            "title": title,
            "message": message,
            "author": user,
            "date": now.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
            "tree": {path: [e.oid, e.size, e.lfs] for path, e in sorted(tree.items())},
        }
        # Two commits of the same content in the same second are two commits.
        content = json.dumps(commit).encode()
        oid = hashlib.sha1(content + os.urandom(8)).hexdigest()
        write_whole(self.folder / "commits" / f"{oid}.json", content)
        return oid


LARGE = {
    *(
        "7z",
        "arrow",
        "bin",
        "bz2",
        "gz",
        "h5",
        "npy",
        "npz",
        "parquet",
        "pt",
        "pth",
        "safetensors",
        "tar",
        "tgz",
    ),
    *("wav", "zip", "zst", "bmp", "gif", "png", "tiff", "jpg", "jpeg", "webp"),
}
"""Endings of the .gitattributes that the Hub puts into a new dataset repository, those that matter here."""


def is_large(path, size, sample):
    """Whether the Hub takes a file as a large object: by its ending, by size, or because it is binary."""
    if path.rpartition(".")[2].lower() in LARGE and "." in path:
        return True
    return size > 10 << 20 or b"\0" in sample


def write_whole(path, content):
    """Write a file so that nobody ever sees a part of it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)


class Store:
    """All repositories below a folder; they survive the server."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = threading.RLock()
        self.repositories = {}
        for path in self.folder.glob("*/*/*/repository.json"):
            kind, owner, name = path.parent.relative_to(self.folder).parts
            key = (kind, f"{owner}/{name}")
            self.repositories[key] = Repository(path.parent, *key)

    def create(self, kind, name, user, *, private):
        with self.lock:
            if (kind, name) in self.repositories:
                raise RefusedError(409, f"You already created this {kind} repo: {name}")
            made = Repository(self.folder / kind / name, kind, name)
            made.create(user, private)
            self.repositories[kind, name] = made
            return made

    def delete(self, kind, name):
        with self.lock:
            shutil.rmtree(self.repositories.pop((kind, name)).folder)
