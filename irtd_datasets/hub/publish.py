"""Publishing a dataset folder: check, upload, one commit, read back, tag.

Large files are uploaded first, where nobody sees them; then a single commit shows everything at once. The Hub takes up
to 25,000 large files in a commit, which is terabytes of shards, so nothing has to be staged on another branch. The
commit names its parent: when somebody else committed meanwhile, the Hub refuses it, and what changed decides.

The Hub itself is the journal: before a large file is sent, it says whether it has it. A run that was killed or cut off
is taken up by the same command, which sends no finished file again.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from irtd_datasets.catalog import dataset_names, spec
from irtd_datasets.errors import AnnotationError, HubError, PublishError, UnknownNameError, summarize
from irtd_datasets.folder.manifest import Manifest
from irtd_datasets.folder.names import MANIFEST
from irtd_datasets.folder.row_groups import read_groups
from irtd_datasets.hub.check import check_folder
from irtd_datasets.hub.published_files import FolderFiles, LocalFile, in_repository, read_folder
from irtd_datasets.hub.remote import (
    LOST_ANSWER,
    Account,
    Remote,
    RemoteState,
    Upload,
    without_bars,
    xet_in_use,
)
from irtd_datasets.hub.verify import verify_published
from irtd_datasets.writing.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from irtd_datasets.hub.findings import Finding

__all__ = ["PublishOptions", "PublishReport", "publish"]

_CHECKING = 4  # threads that decode images for the check, at most

MOST_FILES = 25_000
"""Large files that the Hub takes in one commit, as the documentation of ``create_commit`` says."""
BATCH_FILES, BATCH_BYTES = 256, 10 << 30
"""Files of one request for addresses to upload to, which are valid for some hours."""
XET_BATCH_FILES, XET_BATCH_BYTES = 64, 512 << 20
"""Files of one Xet session: what it has sent counts as sent when it ends."""
COMMIT_ATTEMPTS = 5
_ATTRIBUTES = ".gitattributes"
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._\-]{0,99}")


@dataclass(slots=True)
class PublishReport:
    """What was published, or would be.

    Attributes:
        repo_id: ``owner/name``.
        url: Address of its page.
        revision: The tag.
        commit: The commit that the tag names; empty in a dry run.
        dry_run: Whether nothing was changed.
        created: Whether the repository was made.
        private: Whether it is private.
        uploaded: Files that the commit adds or replaces.
        uploaded_bytes: Their size. Less is sent where the Hub has some content already.
        unchanged: Files that the repository had already.
        deleted: Files that the commit takes away.
        kept: Files of the repository that are not this folder's and stay.
        left_out: Files of the folder that are not published, since no build writes them.
        warnings: What is worth a look.
        verified: Rows that were streamed back and compared, by ``config/split``.
    """

    repo_id: str
    url: str
    revision: str
    commit: str = ""
    dry_run: bool = False
    created: bool = False
    private: bool = False
    uploaded: list[str] = field(default_factory=list)
    uploaded_bytes: int = 0
    unchanged: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    verified: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What has to be done to bring a repository from a state to the folder's content."""

    add: tuple[LocalFile, ...]
    unchanged: tuple[str, ...]
    delete: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def touched(self) -> set[str]:
        return {*(file.path for file in self.add), *self.delete}


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """How to publish.

    Attributes:
        private: Make the repository private; one that exists and is public is refused.
        revision: Tag; None takes ``v`` and the version of the dataset. A tag never moves.
        dry_run: Check, and say what would be done; needs no token for a repository that everybody sees.
        accept_terms: Publish sources whose terms restrict redistribution, on your own responsibility.
        replace: Take a repository with other content and replace all of it; its history stays.
        verify_rows: Rows of each split that are streamed back and compared.
    """

    private: bool = False
    revision: str | None = None
    dry_run: bool = False
    accept_terms: bool = False
    replace: bool = False
    verify_rows: int = 3


def publish(
    folder: str | os.PathLike[str],
    repo_id: str,
    options: PublishOptions | None = None,
    *,
    token: str | None = None,
    progress: Progress | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> PublishReport:
    """Publish a dataset folder to the Hub, visible at once, and read some of it back.

    Running it again goes on where a run was cut off, and does nothing where everything is published. The address of the
    Hub is that of ``HF_ENDPOINT``.

    Args:
        folder: A folder that ``irtd build`` has finished. Its card gets the repository's name in its examples, and the
            manifest the card's new hash; everything else is only read.
        repo_id: ``owner/name``, or a name under the token's account.
        options: How to publish.
        token: A token with write access; by default the one that the user is logged in with.
        progress: Told what happens, in bytes of the files that are sent.
        sleep: How to wait before another try.

    Returns:
        What was done.

    Raises:
        PublishError: The folder, its terms or the repository do not allow it.
        HubError: The Hub refuses, fails, or cannot be reached.
        UnknownNameError: `repo_id` or the revision is no name.
    """
    _check_name(repo_id)
    remote = Remote(repo_id, token=token, sleep=sleep)
    if "/" not in repo_id and not remote.token:
        raise UnknownNameError(
            f"the name {repo_id!r} has no owner, and nobody is logged in whose account it could be",
            remedy=f"Write it as OWNER/{repo_id}, or log in first (`hf auth login`): a name alone is then one of your "
            "account.",
        )
    return _Publication(
        Path(folder), remote, options or PublishOptions(), progress or Progress(), sleep
    ).run()


class _Publication:
    """One publication, in steps."""

    def __init__(
        self,
        folder: Path,
        remote: Remote,
        options: PublishOptions,
        progress: Progress,
        sleep: Callable[[float], None],
    ) -> None:
        self.folder = folder
        self._remote = remote
        self._options = options
        self._progress = progress
        self._sleep = sleep
        self._uploads: dict[str, Upload] = {}
        self._earlier: set[str] | None = None  # found once: what others add meanwhile is theirs

    def run(self) -> PublishReport:
        """Do it all."""
        local, tag, warnings = self._prepare()
        self._progress.stage("asking the Hub")
        self._name_owner()
        with TemporaryDirectory(prefix="irtd-publish-") as room:
            return self._publish(self._named(local, Path(room), warnings), tag, warnings)

    def _named(self, local: FolderFiles, room: Path, warnings: list[str]) -> FolderFiles:
        """The files with the repository's name in the examples of the card: in the folder too, but for a dry run."""
        if not self._options.dry_run:
            try:
                return in_repository(local, self._remote.repo_id, self.folder)
            except OSError as error:
                warnings.append(
                    f"the card in {self.folder} keeps its examples without the repository's name, since it cannot be "
                    f"written ({error.strerror or error}); the published card has it"
                )
        return in_repository(local, self._remote.repo_id, room)

    def _publish(self, local: FolderFiles, tag: str, warnings: list[str]) -> PublishReport:
        options = self._options
        report = PublishReport(
            self._remote.repo_id, self._remote.url, tag, dry_run=options.dry_run, warnings=warnings
        )
        report.left_out = list(local.left_out)
        state = self._remote.state()
        report.created, report.private = state is None, options.private if state is None else state.private
        if state is not None and options.private and not state.private:
            raise PublishError(
                "the repository exists and is public",
                where=self._remote.repo_id,
                remedy="Make it private on its settings page first, or leave --private out.",
            )
        if state is None and not options.dry_run:
            self._remote.create(private=options.private)
            state = self._remote.state()
            if state is None:
                raise HubError("it was made and is not there", where=self._remote.repo_id)
        plan = self._plan(local, state)
        tagged = self._tagged(local, state, tag) if state is not None else False
        report.uploaded = [file.path for file in plan.add]
        report.uploaded_bytes = sum(file.size for file in plan.add)
        report.unchanged, report.deleted, report.kept = (
            list(plan.unchanged),
            list(plan.delete),
            list(plan.kept),
        )
        if options.dry_run or state is None:
            return report
        report.commit = self._send(local, state, plan) if plan.touched else state.head
        self._progress.stage("reading back")
        self._compare(local, report.commit)
        report.verified = verify_published(
            self.folder,
            self._remote.repo_id,
            report.commit,
            token=self._remote.token,
            rows=options.verify_rows,
        )
        if not tagged:
            self._tag(local, tag, report.commit)
        return report

    def _prepare(self) -> tuple[FolderFiles, str, list[str]]:
        """What can be said without the Hub: the files, the tag, warnings."""
        self._progress.stage("checking the folder")
        local = read_folder(self.folder)
        tag = self._options.revision or f"v{local.manifest.version}"
        if not _TAG.fullmatch(tag) or tag in {"main", "HEAD"} or re.fullmatch(r"[0-9a-f]{40}", tag):
            raise UnknownNameError(
                f"{tag!r} cannot be a tag", remedy="Use letters, digits, '.', '_' and '-', as in v1."
            )
        if len(local.files) > MOST_FILES:
            raise PublishError(
                f"the folder has {len(local.files):,} files, one commit takes {MOST_FILES:,}",
                where=str(self.folder),
                remedy="Build it with larger shards.",
            )
        warnings = _check_terms(local, accept_terms=self._options.accept_terms)
        return local, tag, [*_check(self.folder), *warnings]

    def _name_owner(self) -> None:
        """Find out whose token it is, refuse one that cannot write, and complete a name without an owner."""
        remote = self._remote
        if self._options.dry_run and not remote.token and "/" in remote.repo_id:
            return
        account = remote.account()
        if "/" not in remote.repo_id:
            remote.repo_id = f"{account.name}/{remote.repo_id}"
        if not self._options.dry_run:
            _check_account(account, remote.repo_id)

    def _plan(self, local: FolderFiles, state: RemoteState | None) -> _Plan:
        if state is None:
            return _Plan(tuple(local.files.values()), (), (), ())
        foreign = sorted(path for path in state.files if path not in local.files and path != _ATTRIBUTES)
        if self._options.replace:
            stale = foreign
        else:
            if self._earlier is None:
                self._earlier = self._published_earlier(local, state)
            stale = [path for path in foreign if path in self._earlier]
            shards = {file.path.rpartition("/")[0] for file in local.shards}
            stale += [
                path
                for path in foreign
                if path not in stale and path.endswith(".parquet") and path.rpartition("/")[0] in shards
            ]
        same = {path for path, file in local.files.items() if file.is_same(state.files.get(path))}
        add = tuple(file for path, file in local.files.items() if path not in same)
        kept = tuple(path for path in foreign if path not in stale)
        return _Plan(add, tuple(sorted(same)), tuple(sorted(stale)), kept)

    def _published_earlier(self, local: FolderFiles, state: RemoteState) -> set[str]:
        """Files that an earlier publication of the same dataset put into the repository.

        Raises:
            PublishError: The repository has other content.
        """
        remedy = (
            "Publish to another name. Or use --replace: everything in the repository is replaced, and stays in its "
            "history."
        )
        if MANIFEST not in state.files:
            others = [
                path
                for path in state.files
                if path not in {_ATTRIBUTES, "README.md", ".gitignore", "LICENSE"}
            ]
            if others:
                raise PublishError(
                    f"the repository has other content:\n{summarize(sorted(others), 5)}",
                    where=self._remote.repo_id,
                    remedy=remedy,
                )
            return set()
        try:
            earlier = Manifest.parse(self._remote.text(MANIFEST, state.head).encode())
        except AnnotationError as error:
            raise PublishError(
                f"the repository's {MANIFEST} cannot be understood: {error.problem}",
                where=self._remote.repo_id,
                remedy=remedy,
            ) from error
        if earlier.dataset != local.manifest.dataset:
            raise PublishError(
                f"the repository holds the dataset {earlier.dataset!r}, the folder {local.manifest.dataset!r}",
                where=self._remote.repo_id,
                remedy=remedy,
            )
        return set(earlier.files)

    def _tagged(self, local: FolderFiles, state: RemoteState, tag: str) -> bool:
        """Whether the tag stands on this very content.

        Raises:
            PublishError: It stands on other content.
        """
        if tag not in state.tags:
            return False
        files = self._remote.files_at(state.tags[tag])
        differing = [path for path, file in local.files.items() if not file.is_same(files.get(path))]
        differing += [path for path in files if path.endswith(".parquet") and path not in local.files]
        if differing:
            raise PublishError(
                f"the tag {tag!r} exists and names other content:\n{summarize(sorted(differing), 5)}",
                where=self._remote.repo_id,
                remedy="A tag never moves: give this content another one with --revision.",
            )
        return True

    def _send(self, local: FolderFiles, state: RemoteState, plan: _Plan) -> str:
        """Upload and commit; returns the commit."""
        self._upload(plan)
        for attempt in range(1, COMMIT_ATTEMPTS + 1):
            self._progress.stage("committing")
            try:
                return self._remote.commit(
                    (self._uploads[file.path] for file in plan.add),
                    plan.delete,
                    parent=state.head,
                    message=f"{spec(local.manifest.dataset).title} {local.manifest.version}",
                )
            except HubError as error:
                known = error.status is not None and error.status < 500
                if known and error.status not in {*LOST_ANSWER, 429}:
                    raise
                # Somebody was faster, or the answer was lost: only the repository knows.
                now = self._remote.state()
                if now is None or attempt == COMMIT_ATTEMPTS:
                    raise
                again = self._plan(local, now)
                if not again.touched:
                    return now.head
                self._check_meanwhile(state, now, plan)
                if now.head == state.head:
                    self._sleep(min(2**attempt, 30))
                self._upload(again)
                state, plan = now, again
        raise AssertionError

    def _check_meanwhile(self, before: RemoteState, now: RemoteState, plan: _Plan) -> None:
        """Refuse to overwrite what somebody else committed since we looked.

        Raises:
            PublishError: It is among the files that we add, replace or delete.
        """
        changed = {
            path for path in {*before.files, *now.files} if before.files.get(path) != now.files.get(path)
        }
        if changed & plan.touched:
            raise PublishError(
                f"somebody else changed what we publish meanwhile:\n{summarize(sorted(changed & plan.touched), 5)}",
                where=self._remote.repo_id,
                remedy="Look at the repository's history. Run the same command again to publish on top of it.",
            )

    def _upload(self, plan: _Plan) -> None:
        """Upload large files, batch by batch; check that they are what was built."""
        xet = xet_in_use()
        waiting = [file for file in plan.add if file.path not in self._uploads]
        self._progress.stage(f"uploading {len(waiting)} files")
        self._progress.total(sum(file.size for file in waiting))
        limits = (XET_BATCH_FILES, XET_BATCH_BYTES) if xet else (BATCH_FILES, BATCH_BYTES)
        for batch in _batches(waiting, *limits):
            uploads = [Upload(file.path, file.file, file.size, file.sha256) for file in batch]
            with without_bars():
                self._remote.upload(uploads, self._progress.advance)
            if xet:
                # Its client reads files by itself.
                self._progress.advance(sum(file.size for file in batch))
            for upload in uploads:
                _check_unchanged(upload)
                self._uploads[upload.path] = upload

    def _compare(self, local: FolderFiles, commit: str) -> None:
        """Compare the hashes that the Hub has at a commit with the folder's."""
        files = self._remote.files_at(commit)
        wrong = [path for path, file in local.files.items() if not file.is_same(files.get(path))]
        if wrong:
            raise PublishError(
                f"what the Hub has differs from the folder:\n{summarize(wrong)}",
                where=f"{self._remote.repo_id} at {commit}",
                remedy="Run the same command again.",
            )

    def _tag(self, local: FolderFiles, tag: str, commit: str) -> None:
        try:
            self._remote.tag(tag, commit, f"{local.manifest.dataset} {local.manifest.version}")
        except HubError as error:
            # Made by somebody else meanwhile, or by a request whose answer was lost.
            state = self._remote.state() if error.status == 409 else None
            if state is None or not self._tagged(local, state, tag):
                raise


def _check_name(repo_id: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # exported lazily

    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise UnknownNameError(
            f"{repo_id!r} is no name of a repository: {error}", remedy="Write it as OWNER/NAME."
        ) from error


def _check_account(account: Account, repo_id: str) -> None:
    if account.role == "read":
        raise HubError(
            f"the token of {account.name} has read access only",
            status=403,
            where=repo_id,
            remedy="Make a token with write access on the Hub's settings page, and log in with it (`hf auth login`).",
        )
    owner = repo_id.partition("/")[0]
    if owner.lower() not in {name.lower() for name in (account.name, *account.organisations)}:
        raise HubError(
            f"the token belongs to {account.name}, who is not in {owner}",
            status=403,
            where=repo_id,
            remedy=f"Publish to {account.name}/..., or log in as a member of {owner}.",
        )


def _check(folder: Path) -> list[str]:
    """Check the folder as ``irtd check`` does.

    Returns:
        Its warnings.

    Raises:
        PublishError: It found errors.
    """
    # The client reads every file for its SHA-256 before it is sent, see `_check_unchanged`.
    report = check_folder(folder, hashed_bytes=0, workers=min(os.cpu_count() or 1, _CHECKING))
    if report.errors:
        raise PublishError(
            f"the folder has {len(report.errors)} errors:\n{summarize(map(_told, report.errors))}",
            where=str(folder),
            remedy="`irtd check` shows all of them with what to do.",
        )
    # Terms are told with their rows, and decide, in `_check_terms`.
    first = {
        finding.rule: _told(finding)
        for finding in reversed(report.warnings)
        if not finding.rule.startswith("source-")
    }
    return [
        f"{rule}, {report.counts[rule]:,} times (`irtd check` shows them), such as {told}"
        for rule, told in sorted(first.items())
    ]


def _told(finding: Finding) -> str:
    return f"{finding.file}: {finding.message}" if finding.file else str(finding.message)


def _check_terms(local: FolderFiles, *, accept_terms: bool) -> list[str]:
    """Refuse sources that may not be passed on.

    Returns:
        Warnings about those whose terms are not known, and about what was accepted.

    Raises:
        PublishError: The terms of a source restrict redistribution, and nobody took the responsibility.
    """
    if local.manifest.dataset not in dataset_names():
        raise PublishError(
            f"the folder holds the dataset {local.manifest.dataset!r}, which is not known here",
            where=str(local.root),
            remedy=f"Known: {', '.join(dataset_names())}.",
        )
    declared = spec(local.manifest.dataset)
    rows: Counter[str | None] = Counter()
    pairs: Counter[str | None] = Counter()
    for _, table in read_groups([shard.file for shard in local.shards], ["source", "visible.path"]):
        sources = table.column("source")
        for counted in sources.value_counts().to_pylist():
            rows[counted["values"]] += counted["counts"]
        for counted in sources.filter(table.column("visible").is_valid()).value_counts().to_pylist():
            pairs[counted["values"]] += counted["counts"]
    forbidden, unknown = [], 0
    for source, count in sorted(rows.items(), key=lambda item: str(item[0])):
        terms = declared.terms_of(source)
        if terms.redistribution == "forbidden":
            partners = f", {pairs[source]:,} of them with a visible image" if pairs[source] else ""
            forbidden.append(f"{source}: {count:,} rows{partners}: {terms.licence}")
        elif terms.redistribution == "unknown":
            unknown += count
    if forbidden and not accept_terms:
        raise PublishError(
            f"the terms of {len(forbidden)} sources restrict redistribution:\n{summarize(forbidden)}",
            where=str(local.root),
            remedy="Leave them out, or use --accept-terms if you have the right to pass them on; --private alone gives "
            "none.",
        )
    warnings = [f"terms accepted by you: {line}" for line in forbidden]
    if unknown:
        shown = sum(pairs[name] for name in rows if declared.terms_of(name).redistribution == "unknown")
        paired = f", visible images of {shown:,} of them included" if shown else ""
        warnings.append(f"nobody says whether the sources of {unknown:,} rows may be passed on{paired}")
    return warnings


def _check_unchanged(upload: Upload) -> None:
    """Refuse a file that is not what was built; nothing is visible yet.

    Raises:
        PublishError: Its hash or size is another one.
    """
    known = upload.operation.upload_info
    if known.size != upload.size or (upload.sha256 and known.sha256.hex() != upload.sha256):
        raise PublishError(
            "its bytes are not those that the build wrote",
            where=str(upload.file),
            remedy="Nothing was published. Remove this file and start the same `irtd build` again: it writes what is "
            "missing.",
        )


def _batches(files: Sequence[LocalFile], most: int, size: int) -> Iterator[list[LocalFile]]:
    batch: list[LocalFile] = []
    total = 0
    for file in files:
        if batch and (len(batch) == most or total + file.size > size):
            yield batch
            batch, total = [], 0
        batch.append(file)
        total += file.size
    if batch:
        yield batch
