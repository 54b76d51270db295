"""S3: buckets and objects over its REST protocol, path style and virtual-host style."""

import base64
import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

from relayd.sandbox.cloud import s3_bodies, s3_configuration
from relayd.sandbox.cloud.calls import Answer, Call, Refusal, element, request_id
from relayd.sandbox.cloud.clock import Now, http_date, iso
from relayd.sandbox.cloud.objects import Bucket, StoredObject, possible_name

MAX_KEY = 1024
NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"

_VIRTUAL_HOST = re.compile(r"([a-z0-9][a-z0-9.-]{1,61}?[a-z0-9])\.(?:s3\.)?localhost(?::\d+)?")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_BUCKET_OPERATIONS: Mapping[str, str] = {"PUT": "CreateBucket", "HEAD": "HeadBucket", "DELETE": "DeleteBucket"}
_OBJECT_OPERATIONS: Mapping[str, str] = {
    "GET": "GetObject",
    "HEAD": "HeadObject",
    "PUT": "PutObject",
    "DELETE": "DeleteObject",
}
_HARMLESS_QUERY = frozenset({"x-id", "versionId", "partNumber"})
"""Parameters of object calls that choose no other operation."""


class S3:
    """All buckets of all regions."""

    def __init__(self, now: Now) -> None:
        self._now = now
        self.buckets: dict[str, Bucket] = {}
        self._operations: Mapping[str, Callable[[Call], Answer | Awaitable[Answer]]] = {
            "ListBuckets": self._list_buckets,
            "CreateBucket": self._create,
            "HeadBucket": self._head_bucket,
            "DeleteBucket": self._delete_bucket,
            "GetBucketLocation": self._location,
            "ListObjectsV2": self._list,
            "PutObject": self._put,
            "GetObject": self._get,
            "HeadObject": self._get,
            "DeleteObject": self._delete,
            **s3_configuration.operations(self._bucket),
        }

    def recognise(self, call: Call) -> None:
        bucket, _, key = call.path.lstrip("/").partition("/")
        if virtual := _VIRTUAL_HOST.fullmatch(call.host):
            bucket, key = virtual[1], call.path[1:]
        call.parts = (bucket, key)
        call.resource = f"{bucket}/{key}" if key else bucket
        call.operation = _operation(call, bucket, key)
        if not call.operation:
            raise Refusal("NotImplemented", "A header you provided implies functionality that is not implemented.", 501)

    def answer(self, call: Call) -> Answer | Awaitable[Answer]:
        return self._operations[call.operation](call)

    def refuse(self, refusal: Refusal) -> Answer:
        told = element("Code", refusal.code) + element("Message", refusal.text)
        number = request_id()
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{told}{element("RequestId", number)}</Error>'
        headers = [(b"content-type", b"application/xml"), (b"x-amz-request-id", number.encode())]
        return Answer(refusal.status, headers, (text.encode(),), code=refusal.code)

    def _bucket(self, call: Call) -> Bucket:
        name = call.parts[0]
        found = self.buckets.get(name)
        if found is None:
            if not possible_name(name):
                raise Refusal("InvalidBucketName", "The specified bucket is not valid.")
            raise Refusal("NoSuchBucket", "The specified bucket does not exist", 404)
        return found

    def _list_buckets(self, call: Call) -> Answer:  # noqa: ARG002
        listed = "".join(
            f"<Bucket>{element('Name', one.name)}{element('CreationDate', iso(one.created))}</Bucket>"
            for one in self.buckets.values()
        )
        return _xml(f'<ListAllMyBucketsResult xmlns="{NAMESPACE}"><Buckets>{listed}</Buckets></ListAllMyBucketsResult>')

    def _create(self, call: Call) -> Answer:
        name = call.parts[0]
        if not possible_name(name):
            raise Refusal("InvalidBucketName", "The specified bucket is not valid.")
        found = self.buckets.get(name)
        if found is not None and found.region != "us-east-1":
            text = "Your previous request to create the named bucket succeeded and you already own it."
            raise Refusal("BucketAlreadyOwnedByYou", text, 409)
        if found is None:
            self.buckets[name] = Bucket(name, call.region, self._now(), s3_configuration.new())
        return Answer(headers=[*_common(), (b"location", f"/{name}".encode())])

    def _head_bucket(self, call: Call) -> Answer:
        found = self._bucket(call)
        return Answer(headers=[*_common(), (b"x-amz-bucket-region", found.region.encode())])

    def _delete_bucket(self, call: Call) -> Answer:
        found = self._bucket(call)
        if len(found):
            raise Refusal("BucketNotEmpty", "The bucket you tried to delete is not empty", 409)
        del self.buckets[found.name]
        return Answer(204, _common())

    def _location(self, call: Call) -> Answer:
        region = self._bucket(call).region
        return _xml(
            f'<LocationConstraint xmlns="{NAMESPACE}">{"" if region == "us-east-1" else region}</LocationConstraint>'
        )

    def _list(self, call: Call) -> Answer:
        found, query = self._bucket(call), call.query
        prefix = query.get("prefix", "")
        try:
            limit = min(1000, max(0, int(query.get("max-keys") or 1000)))
            token = query.get("continuation-token", "")
            start = base64.urlsafe_b64decode(token).decode() if token else query.get("start-after", "")
        except ValueError:
            raise Refusal("InvalidArgument", "The continuation token provided is incorrect") from None
        encode = quote if query.get("encoding-type") == "url" else str
        contents: list[str] = []
        last, more = "", False
        for key, stored in found.after(prefix, start):
            if len(contents) == limit:
                more = True
                break
            contents.append(_listed(encode(key), stored))
            last = key
        inner = element("Name", found.name) + element("Prefix", encode(prefix)) + element("MaxKeys", limit)
        inner += element("KeyCount", len(contents)) + element("IsTruncated", "true" if more and limit else "false")
        if "encoding-type" in query:
            inner += element("EncodingType", "url")
        if more and limit:
            inner += element("NextContinuationToken", base64.urlsafe_b64encode(last.encode()).decode())
        return _xml(f'<ListBucketResult xmlns="{NAMESPACE}">{inner}{"".join(contents)}</ListBucketResult>')

    async def _put(self, call: Call) -> Answer:
        bucket, key = self._bucket(call), call.parts[1]
        if len(key.encode()) > MAX_KEY:
            raise Refusal("KeyTooLongError", "Your key is too long")
        if b"x-amz-copy-source" in call.headers:
            raise Refusal("NotImplemented", "A header you provided implies functionality that is not implemented.", 501)
        body = await s3_bodies.read(call)
        etag = f'"{body.md5.hex()}"'
        stored = StoredObject(
            body.pieces,
            body.size,
            etag,
            self._now(),
            call.headers.get(b"content-type", b"binary/octet-stream").decode("latin-1"),
            {
                name[len(b"x-amz-meta-") :].decode("latin-1"): value.decode("latin-1")
                for name, value in call.headers.items()
                if name.startswith(b"x-amz-meta-")
            },
        )
        bucket.put(key, stored)
        return Answer(headers=[*_common(), (b"etag", etag.encode())])

    def _get(self, call: Call) -> Answer:
        stored = self._bucket(call).get(call.parts[1])
        if stored is None:
            raise Refusal("NoSuchKey", "The specified key does not exist.", 404)
        headers = [
            *_common(),
            (b"etag", stored.etag.encode()),
            (b"last-modified", http_date(stored.modified).encode()),
            (b"content-type", stored.content_type.encode("latin-1")),
            (b"accept-ranges", b"bytes"),
        ]
        headers += [
            (f"x-amz-meta-{name}".encode("latin-1"), value.encode("latin-1")) for name, value in stored.metadata.items()
        ]
        wanted = _wanted(call, stored.size)
        answer = Answer(headers=headers, body=stored.pieces, length=stored.size if call.method == "HEAD" else None)
        if wanted is not None:
            start, end = wanted
            answer.status, answer.body = 206, stored.part(start, end)
            headers.append((b"content-range", f"bytes {start}-{end - 1}/{stored.size}".encode()))
            answer.length = end - start if call.method == "HEAD" else None
        if call.method == "HEAD":
            answer.body = ()
        return answer

    def _delete(self, call: Call) -> Answer:
        self._bucket(call).delete(call.parts[1])
        return Answer(204, _common())


def _operation(call: Call, bucket: str, key: str) -> str:
    query = call.query.keys() - _HARMLESS_QUERY
    if not bucket:
        return "ListBuckets" if call.method == "GET" else ""
    if key:
        return "" if query else _OBJECT_OPERATIONS.get(call.method, "")
    if configuration := s3_configuration.operation(call.method, call.query):
        return configuration
    if call.method == "GET":
        if "delimiter" in query:
            return ""
        if "location" in query:
            return "GetBucketLocation"
        return "ListObjectsV2" if call.query.get("list-type") == "2" else ""
    return "" if query else _BUCKET_OPERATIONS.get(call.method, "")


def _common() -> list[tuple[bytes, bytes]]:
    return [(b"x-amz-request-id", request_id().encode())]


def _xml(text: str) -> Answer:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
    return Answer(headers=[*_common(), (b"content-type", b"application/xml")], body=(body,))


def _listed(key: str, stored: StoredObject) -> str:
    facts = element("Key", key) + element("LastModified", iso(stored.modified)) + element("ETag", stored.etag)
    return f"<Contents>{facts}{element('Size', stored.size)}{element('StorageClass', 'STANDARD')}</Contents>"


def _wanted(call: Call, size: int) -> tuple[int, int] | None:
    """The first byte and the one after the last that a Range header asks for; None for all."""
    found = _RANGE.fullmatch(call.headers.get(b"range", b"").decode("latin-1").strip())
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(size, int(last) + 1 if last else size)
        if last and int(last) < int(first):
            return None
    if start >= size or start >= end:
        raise Refusal("InvalidRange", "The requested range is not satisfiable", 416)
    return start, end
