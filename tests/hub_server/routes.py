"""What the two ports answer. Paths are matched quoted, and their parts are unquoted afterwards."""

import base64
import hashlib
import json
import math
import os
import tempfile
import urllib.parse
from pathlib import Path

import yaml

from hub_server.store import Entry, RefusedError, git_oid, is_large

REPO = r"(?P<kind>dataset|model|space)s/(?P<name>[^/]+(?:/[^/]+)?)"
# A model has no prefix outside of the API.
FILES = r"/(?P<kind>datasets/|spaces/|)(?P<name>[^/]+/[^/]+)"


def visible(hub, request, kind, name):
    """A repository that the user may see."""
    kind = kind.rstrip("s/") or "model"
    repository = hub.store.repositories.get((kind, name))
    if repository is None or (repository.private and not may(request.user, repository.owner)):
        status = 404 if request.user else 401
        raise RefusedError(
            status,
            "Repository not found" if request.user else "Invalid username or password.",
            "RepoNotFound",
        )
    return repository


def writable(hub, request, kind, name):
    """A repository that the user may change."""
    repository = visible(hub, request, kind, name)
    check_write(request.user, repository.owner)
    return repository


def readable(hub, request, kind, name):
    """A repository whose files the user may have."""
    repository = visible(hub, request, kind, name)
    user = request.user
    if (
        repository.gated
        and not may(user, repository.owner)
        and (user is None or user.name not in repository.allowed)
    ):
        text = f"Access to dataset {name} is restricted. You must have access to it and be authenticated."
        raise RefusedError(403 if user else 401, text, "GatedRepo")
    return repository


def may(user, owner):
    return user is not None and owner in {user.name, *user.organisations}


def check_write(user, owner):
    if user is None:
        raise RefusedError(401, "Invalid username or password.")
    if user.role == "read":
        raise RefusedError(403, "Forbidden: you must use a write token to upload to a repository.")
    if not may(user, owner):
        raise RefusedError(403, f"Forbidden: you don't have write access to the namespace {owner}.")


# Accounts and repositories


def whoami(hub, request):
    user = request.user
    if user is None:
        raise RefusedError(401, "Invalid username or password.")
    token = {"displayName": "test", "role": user.role}
    organisations = [{"type": "org", "name": name, "roleInOrg": "write"} for name in user.organisations]
    request.answer_json(
        {
            "type": "user",
            "name": user.name,
            "fullname": user.name,
            "orgs": organisations,
            "auth": {"accessToken": token},
        }
    )


def create(hub, request):
    body = request.json_body()
    user = request.user
    if user is None:
        raise RefusedError(401, "Invalid username or password.")
    owner = body.get("organization") or user.name
    kind, name = body.get("type") or "model", f"{owner}/{body['name']}"
    if user.role == "read" or not may(user, owner):
        raise RefusedError(
            403, f'You don\'t have the rights to create a {kind} under the namespace "{owner}"'
        )
    private = bool(body.get("private")) or body.get("visibility") == "private"
    url = f"{hub.endpoint}/{'' if kind == 'model' else kind + 's/'}{name}"
    try:
        hub.store.create(kind, name, user.name, private=private)
    except RefusedError as refused:
        refused.extra["url"] = url
        raise
    request.answer_json({"url": url, "name": name, "id": "0" * 24})


def delete(hub, request):
    body = request.json_body()
    kind = body.get("type") or "model"
    name = f"{body.get('organization') or request.user.name}/{body['name']}"
    writable(hub, request, kind, name)
    hub.store.delete(kind, name)
    request.answer_json({})


def settings(hub, request, kind, name):
    repository = writable(hub, request, kind, name)
    body = request.json_body()
    if "visibility" in body or "private" in body:
        repository.private = body.get("visibility") == "private" or bool(body.get("private"))
    if "gated" in body:
        repository.gated = bool(body["gated"])
    repository.save()
    request.answer_json({"private": repository.private, "gated": repository.gated})


def validate_yaml(hub, request):
    text = request.json_body().get("content", "")
    errors = []
    head, _, rest = text.partition("---\n")
    if not head.strip() and rest:
        try:
            values = yaml.safe_load(rest.partition("\n---")[0])
            if not isinstance(values, dict):
                errors.append({"message": "the front matter is no mapping"})
        except yaml.YAMLError as error:
            errors.append({"message": f"YAML: {error}"})
    request.answer_json({"errors": errors, "warnings": []}, 400 if errors else 200)


def info(hub, request, kind, name, revision=""):
    repository = visible(hub, request, kind, name)
    commit_id = repository.resolve(revision or "main")
    commit = repository.commit(commit_id)
    tree = repository.tree(commit_id)
    blobs = request.values.get("blobs", "").lower() in {"1", "true"}
    siblings = []
    for path, entry in tree.items():
        sibling = {"rfilename": path}
        if blobs:
            sibling |= {"size": entry.size, "blobId": entry.oid}
            if entry.lfs:
                sibling["lfs"] = {"sha256": entry.lfs, "size": entry.size, "pointerSize": 130}
        siblings.append(sibling)
    owner = repository.owner
    found = {"_id": "0" * 24, "id": name, "author": owner, "sha": commit_id, "lastModified": commit["date"]}
    found |= {
        "private": repository.private,
        "gated": "manual" if repository.gated else False,
        "disabled": False,
    }
    found |= {"tags": [], "downloads": 0, "likes": 0, "siblings": siblings, "createdAt": commit["date"]}
    request.answer_json(found)


def auth_check(hub, request, kind, name):
    readable(hub, request, kind, name)
    request.answer_json({})


def refs(hub, request, kind, name):
    repository = visible(hub, request, kind, name)

    def listed(table, prefix):
        return [{"name": n, "ref": f"refs/{prefix}/{n}", "targetCommit": oid} for n, oid in table.items()]

    found = {"branches": listed(repository.branches, "heads"), "tags": listed(repository.tags, "tags")}
    found["converts"] = listed(repository.converts, "convert")
    if request.values.get("include_prs"):
        found["pullRequests"] = [
            {"name": f"refs/pr/{n}", "ref": f"refs/pr/{n}", "targetCommit": oid}
            for n, oid in repository.pulls.items()
        ]
    request.answer_json(found)


def commits(hub, request, kind, name, revision):
    history = visible(hub, request, kind, name).history(revision)
    keys = ("id", "title", "message", "date")
    listed = [{k: c[k] for k in keys} | {"authors": [{"user": c["author"]}]} for c in history]
    request.answer_json(listed)


def branch(hub, request, kind, name, ref):
    repository = writable(hub, request, kind, name)
    if request.command == "DELETE":
        if ref == "main" or repository.branches.pop(ref, None) is None:
            raise RefusedError(404, f"Branch {ref} does not exist or is the default one", "RevisionNotFound")
    else:
        start = repository.resolve(request.json_body().get("startingPoint") or "main")
        if ref in repository.branches:
            raise RefusedError(409, f"Reference already exists: refs/heads/{ref}")
        repository.branches[ref] = start
    repository.save()
    request.answer_json({})


def tag(hub, request, kind, name, ref):
    repository = writable(hub, request, kind, name)
    with repository.lock:
        if request.command == "DELETE":
            if repository.tags.pop(ref, None) is None:
                raise RefusedError(404, f"Tag {ref} does not exist", "RevisionNotFound")
        else:
            wanted = request.json_body()["tag"]
            if wanted in repository.tags:
                raise RefusedError(409, f"Tag reference exists already: {wanted}")
            repository.tags[wanted] = repository.resolve(ref)
        repository.save()
    request.answer_json({})


def squash(hub, request, kind, name, ref):
    title = request.json_body().get("message", "Super-squash")
    writable(hub, request, kind, name).squash(ref, title, request.user.name)
    request.answer_json({})


# Trees and files


def listed(path, entry):
    found = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
    if entry.lfs:
        found["lfs"] = {"oid": entry.lfs, "size": entry.size, "pointerSize": 130}
    return found


def folder(path, tree):
    names = "\n".join(name for name in tree if name.startswith(f"{path}/"))
    return {"type": "directory", "oid": hashlib.sha1(names.encode()).hexdigest(), "size": 0, "path": path}


def tree(hub, request, kind, name, revision, path=""):
    repository = visible(hub, request, kind, name)
    commit_id = repository.resolve(revision)
    files = repository.tree(commit_id)
    below = {name: entry for name, entry in files.items() if not path or name.startswith(f"{path}/")}
    if path and not below:
        raise RefusedError(404, f'{path} does not exist on "{revision}"', "EntryNotFound", commit=commit_id)
    deep = request.values.get("recursive", "").lower() in {"1", "true"}
    start = len(path) + 1 if path else 0
    found, seen = [], set()
    for file, entry in sorted(below.items()):
        parents = [file[:cut] for cut, letter in enumerate(file) if letter == "/" and cut >= start]
        for parent in parents if deep else parents[:1]:
            if parent not in seen:
                seen.add(parent)
                found.append(folder(parent, files))
        if deep or not parents:
            found.append(listed(file, entry))
    if request.values.get("expand", "").lower() in {"1", "true"}:
        commit = repository.commit(commit_id)
        last = {"id": commit_id, "title": commit["title"], "date": commit["date"]}
        found = [{**item, "lastCommit": last} for item in found]
    size = min(int(request.values.get("limit") or hub.page_size), hub.page_size)
    at = int(request.values.get("cursor") or 0)
    headers = {}
    if at + size < len(found):
        query = "&".join(f"{k}={v}" for k, v in {**request.values, "cursor": at + size}.items())
        headers["Link"] = f'<{hub.endpoint}{request.path.partition("?")[0]}?{query}>; rel="next"'
    request.answer_json(found[at : at + size], headers=headers)


def paths_info(hub, request, kind, name, revision):
    repository = visible(hub, request, kind, name)
    text = request.body.read().decode()
    form = urllib.parse.parse_qs(text)
    wanted = form.get("paths") or (json.loads(text)["paths"] if text.startswith("{") else [])
    commit_id = repository.resolve(revision)
    files = repository.tree(commit_id)
    commit = repository.commit(commit_id)
    last = {"lastCommit": {"id": commit_id, "title": commit["title"], "date": commit["date"]}}
    found = []
    for path in wanted:
        if path in files:
            found.append(listed(path, files[path]))
        elif any(file.startswith(f"{path}/") for file in files):
            found.append(folder(path, files))
    if form.get("expand", ["false"])[0].lower() in {"1", "true"}:
        found = [{**item, **last} for item in found]
    request.answer_json(found)


def resolve(hub, request, kind, name, revision, path):
    repository = readable(hub, request, kind, name)
    commit_id = repository.resolve(revision)
    entry = repository.tree(commit_id).get(path)
    if entry is None:
        raise RefusedError(404, "Entry not found", "EntryNotFound", commit=commit_id)
    headers = {"X-Repo-Commit": commit_id}
    if entry.lfs is None:
        headers |= {"ETag": f'"{entry.oid}"', "Content-Type": "text/plain; charset=utf-8"}
        request.answer_file(repository.path_of(entry), headers)
        return
    where = f"/store/{repository.kind}/{repository.name}/{entry.lfs}"
    headers |= {"X-Linked-Size": str(entry.size), "X-Linked-ETag": f'"{entry.lfs}"', "ETag": f'"{entry.oid}"'}
    headers["Location"] = f"{hub.store_endpoint}{where}?signature={hub.sign('get', where)}"
    request.answer(b"", 302, headers)


# Commits


def preupload(hub, request, kind, name, revision):
    repository = writable(hub, request, kind, name)
    files = repository.tree(revision)
    answers = []
    for file in request.json_body()["files"]:
        sample = base64.b64decode(file.get("sample") or "")
        mode = "lfs" if is_large(file["path"], file["size"], sample) else "regular"
        answer = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
        present = files.get(file["path"])
        if present:
            answer["oid"] = present.lfs or present.oid
        answers.append(answer)
    request.answer_json({"files": answers, "commitOid": repository.resolve(revision)})


def lfs_batch(hub, request, kind, name):
    repository = writable(hub, request, kind, name)
    body = request.json_body()
    answers, parts_used = [], False
    for item in body["objects"]:
        oid, size = item["oid"], item["size"]
        answer = {"oid": oid, "size": size, "authenticated": True}
        if not repository.has_object(oid):
            where = f"/upload/{repository.kind}/{repository.name}/{oid}"
            verify = {
                "href": f"{hub.endpoint}/{request.path.strip('/').removesuffix('/objects/batch')}/objects/verify"
            }
            if size > hub.part_size and "multipart" in body.get("transfers", ()):
                parts_used = True
                count = math.ceil(size / hub.part_size)
                href = f"{hub.endpoint}/complete{where}?signature={hub.sign('complete', where)}"
                header = {"chunk_size": str(hub.part_size)}
                for part in range(1, count + 1):
                    key = hub.sign("put", where, part)
                    header[f"{part:05d}"] = f"{hub.store_endpoint}{where}?part={part}&signature={key}"
                answer["actions"] = {"upload": {"href": href, "header": header}, "verify": verify}
            else:
                href = f"{hub.store_endpoint}{where}?part=0&signature={hub.sign('put', where, 0)}"
                answer["actions"] = {"upload": {"href": href}, "verify": verify}
        answers.append(answer)
    request.answer_json({"transfer": "multipart" if parts_used else "basic", "objects": answers})


def lfs_verify(hub, request, kind, name):
    repository = writable(hub, request, kind, name)
    body = request.json_body()
    if (
        not repository.has_object(body["oid"])
        or repository.object(body["oid"]).stat().st_size != body["size"]
    ):
        raise RefusedError(404, "Object not found or of another size")
    request.answer_json({})


def complete(hub, request, kind, name, oid):
    where = f"/upload/{kind}/{name}/{oid}"
    body = request.json_body()
    if request.values.get("signature") != hub.sign("complete", where):
        raise RefusedError(403, "Wrong signature")
    repository = hub.store.repositories[kind, name]
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=repository.folder / "parts", delete=False) as whole:
        for part in body["parts"]:
            file = repository.folder / "parts" / f"{oid}.{part['partNumber']}"
            if not file.is_file():
                raise RefusedError(400, f"Part {part['partNumber']} is missing")
            content = file.read_bytes()
            if part["etag"].strip('"') != hashlib.md5(content).hexdigest():
                raise RefusedError(400, f"Part {part['partNumber']} has another ETag")
            digest.update(content)
            whole.write(content)
    if digest.hexdigest() != oid:
        Path(whole.name).unlink()
        raise RefusedError(400, "The SHA-256 of the parts is another one")
    Path(whole.name).replace(repository.object(oid))
    for part in body["parts"]:
        (repository.folder / "parts" / f"{oid}.{part['partNumber']}").unlink(missing_ok=True)
    request.answer_json({})


def commit(hub, request, kind, name, revision):
    repository = writable(hub, request, kind, name)
    lines = [json.loads(line) for line in request.body.read().splitlines() if line.strip()]
    header = next(line["value"] for line in lines if line["key"] == "header")
    changes = [(line["key"], line["value"]) for line in lines if line["key"] != "header"]
    number = str(len(repository.pulls) + 1) if request.values.get("create_pr") else None

    def apply(files):
        return changed(repository, files, changes)

    oid = repository.apply(
        revision,
        apply,
        title=header["summary"],
        message=header.get("description", ""),
        user=request.user.name,
        parent=header.get("parentCommit"),
        onto=number,
    )
    prefix = "" if repository.kind == "model" else f"{repository.kind}s/"
    answer = {
        "success": True,
        "commitOid": oid,
        "commitUrl": f"{hub.endpoint}/{prefix}{repository.name}/commit/{oid}",
    }
    if number:
        answer["pullRequestUrl"] = f"{hub.endpoint}/{prefix}{repository.name}/discussions/{number}"
    request.answer_json(answer)


def changed(repository, files, changes):
    files = dict(files)
    for key, value in changes:
        path = value["path"]
        if path.startswith("/") or ".." in path.split("/"):
            raise RefusedError(400, f"Invalid path {path}")
        if key == "file":
            content = value["content"]
            data = base64.b64decode(content) if value.get("encoding") == "base64" else content.encode()
            files[path] = repository.add_blob(data)
        elif key == "lfsFile":
            if not repository.has_object(value["oid"]):
                raise RefusedError(
                    400,
                    f"Your push was rejected because an LFS pointer pointed to a file that does not exist: {path}",
                )
            files[path] = Entry.of_object(value["oid"], repository.object(value["oid"]).stat().st_size)
        elif key == "deletedFile":
            if files.pop(path, None) is None:
                raise RefusedError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        elif key == "deletedFolder":
            files = {
                file: entry for file, entry in files.items() if not file.startswith(path.rstrip("/") + "/")
            }
        else:
            raise RefusedError(400, f"Unknown change {key}")
    return files


# The file store


def put(hub, request, kind, name, oid):
    where = f"/upload/{kind}/{name}/{oid}"
    part = request.values.get("part", "0")
    if request.values.get("signature") != hub.sign("put", where, part):
        raise RefusedError(403, "Wrong signature")
    repository = hub.store.repositories[kind, name]
    sha256, md5 = hashlib.sha256(), hashlib.md5()
    handle, path = tempfile.mkstemp(dir=repository.folder / "parts")
    try:
        with os.fdopen(handle, "wb") as file:
            for block in request.body.blocks():
                if part == "0":
                    sha256.update(block)
                else:
                    md5.update(block)
                file.write(block)
        if part == "0":
            if sha256.hexdigest() != oid:
                raise RefusedError(400, "The SHA-256 of the content is another one")
            Path(path).replace(repository.object(oid))
        else:
            Path(path).replace(repository.folder / "parts" / f"{oid}.{part}")
    finally:
        Path(path).unlink(missing_ok=True)
        hub.arrived(oid, request.body.received)
    request.answer(headers={"ETag": f'"{md5.hexdigest()}"'})


def get(hub, request, kind, name, oid):
    where = f"/store/{kind}/{name}/{oid}"
    if request.values.get("signature") != hub.sign("get", where):
        raise RefusedError(403, "Wrong signature")
    path = hub.store.repositories[kind, name].object(oid)
    request.answer_file(path, {"ETag": f'"{oid}"', "Content-Type": "application/octet-stream"})


_API = f"/api/{REPO}"
_OBJECT = r"(?P<kind>\w+)/(?P<name>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})"
TABLES = {
    "hub": [
        ("GET", r"/api/whoami-v2", whoami),
        ("POST", r"/api/repos/create", create),
        ("DELETE", r"/api/repos/delete", delete),
        ("POST", r"/api/validate-yaml", validate_yaml),
        ("POST", rf"{_API}/preupload/(?P<revision>[^/]+)", preupload),
        ("POST", rf"{_API}/commit/(?P<revision>[^/]+)", commit),
        ("POST", rf"{_API}/paths-info/(?P<revision>[^/]+)", paths_info),
        ("POST DELETE", rf"{_API}/branch/(?P<ref>[^/]+)", branch),
        ("POST DELETE", rf"{_API}/tag/(?P<ref>[^/]+)", tag),
        ("POST", rf"{_API}/super-squash/(?P<ref>[^/]+)", squash),
        ("PUT", rf"{_API}/settings", settings),
        ("GET", rf"{_API}/auth-check", auth_check),
        ("GET", rf"{_API}/refs", refs),
        ("GET", rf"{_API}/commits/(?P<revision>[^/]+)", commits),
        ("GET", rf"{_API}/tree/(?P<revision>[^/]+)(?:/(?P<path>.*))?", tree),
        ("GET", rf"{_API}/revision/(?P<revision>[^/]+)", info),
        ("GET", _API, info),
        ("POST", rf"{FILES}\.git/info/lfs/objects/batch", lfs_batch),
        ("POST", rf"{FILES}\.git/info/lfs/objects/verify", lfs_verify),
        ("POST", rf"/complete/upload/{_OBJECT}", complete),
        ("GET HEAD", rf"{FILES}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", resolve),
    ],
    "store": [
        ("PUT", rf"/upload/{_OBJECT}", put),
        ("GET HEAD", rf"/store/{_OBJECT}", get),
    ],
}
assert git_oid(b"") == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
