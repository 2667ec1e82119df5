"""An S3 to test with: moto's server in this process, which keeps its buckets while it is away."""

from __future__ import annotations

import urllib.request
from contextlib import contextmanager

import boto3
from moto.moto_server.werkzeug_app import MotoRequestHandler
from moto.server import ThreadedMotoServer
from ports import free_port

KEYS = {"access_key_id": "of-the-tests", "secret_access_key": "hidden"}
REGION = "us-east-1"


class Buckets:
    """A server that can be stopped and started again."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = {"endpoint": self.url, "region": REGION, **KEYS}
        self.client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=REGION,
            **{f"aws_{name}": value for name, value in KEYS.items()},
        )

    def start(self):
        MotoRequestHandler.protocol_version = "HTTP/1.0"  # no connection outlives a stop
        self._server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self._server.start()

    def stop(self):
        self._server.stop()
        self._server._server.server_close()  # else it takes connections, and answers none

    def trust(self, *, all_keys):
        """Take all keys, or only those that it knows, which are none."""
        body = b"inf" if all_keys else b"0"
        request = urllib.request.Request(
            f"{self.url}/moto-api/reset-auth", body, {"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(request).close()

    def objects(self, bucket):
        """Return the bytes of all objects, by key."""
        found = self.client.list_objects_v2(Bucket=bucket).get("Contents", [])
        keys = [one["Key"] for one in found]
        return {key: self.client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}

    def uploads(self, bucket):
        """Return the keys of objects that are not complete."""
        found = self.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        return [one["Key"] for one in found]


@contextmanager
def running_buckets():
    """Run it; it has no buckets."""
    buckets = Buckets()
    buckets.start()
    try:
        yield buckets
    finally:
        buckets.client.close()
        buckets.stop()
