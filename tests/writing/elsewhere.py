"""Helpers of the tests that build into a store or on a cluster."""

import contextlib
import logging
import sys
import urllib.request

from irtd_datasets.rows.release import absolute_options
from irtd_datasets.writing import from_stream, plan
from irtd_datasets.writing.engine import build

CONFIGS = ("pretrain", "instruct-location", "instruct-security")
SECRET = "s3cr3t-of-the-test"


def cut_small(patch):
    """Make shards of a few images; plans are made in this process, so workers need not know."""
    for module in (plan, from_stream):
        patch.setattr(module, "SHARD_BYTES", 300_000)
    patch.setattr(plan, "LEAST_SHARD_BYTES", 150_000)


def built(release, out, configs=CONFIGS, **options):
    return build("irtd", configs, absolute_options(release), out, **options)


def tree(folder):
    """The files of a dataset folder that are published."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".built.json"
    }


def objects(store):
    """The same of a store."""
    names = [name for name in store.listing() if name != ".built.json"]
    found = store.read_many(names)
    assert set(found) == set(names)
    return found


@contextlib.contextmanager
def s3_server():
    """An S3 server on this machine with an empty bucket; gives the options by which it is reached."""
    import s3fs
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        options = {"endpoint_url": f"http://127.0.0.1:{port}", "key": "test", "secret": SECRET}
        # What it holds is the process's: another test may have had a server before.
        reset = urllib.request.Request(f"{options['endpoint_url']}/moto-api/reset", method="POST")
        urllib.request.urlopen(reset).close()
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem(**options).mkdir("bucket")
        yield options
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
        server.stop()


def killed_at_upload(number, release, url):
    """Build in this process and end it by SIGKILL before the ``number``-th upload."""
    import os
    import signal

    import pytest

    from irtd_datasets.writing.store import Store

    count = 0
    upload = Store.upload

    def counted(self, *arguments):
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return upload(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        cut_small(patch)
        patch.setattr(Store, "upload", counted)
        built(release, url)


if __name__ == "__main__":
    killed_at_upload(int(sys.argv[1]), *sys.argv[2:])
