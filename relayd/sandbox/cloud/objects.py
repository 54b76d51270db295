"""Buckets and objects. An object's bytes stay in the pieces in which they came, and are never copied."""

import re
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_BUCKET_NAME = re.compile(r"(?!\d+\.\d+\.\d+\.\d+$)(?!.*\.\.)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One object as it was put."""

    pieces: Sequence[bytes] = field(repr=False)
    size: int
    etag: str
    modified: float
    content_type: str = "binary/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)

    def part(self, start: int, end: int) -> list[memoryview]:
        """The bytes from `start` up to `end`, without copying them."""
        found: list[memoryview] = []
        at = 0
        for piece in self.pieces:
            first, last = max(start - at, 0), min(end - at, len(piece))
            if first < last:
                found.append(memoryview(piece)[first:last])
            at += len(piece)
        return found


class Bucket:
    """Objects by key, and the keys in order."""

    def __init__(self, name: str, region: str, created: float, configuration: dict[str, str]) -> None:
        self.name = name
        self.region = region
        self.created = created
        self.configuration = configuration
        """What `s3_configuration` knows of it, by kind."""
        self._objects: dict[str, StoredObject] = {}
        self._keys: list[str] = []

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, key: str) -> StoredObject | None:
        return self._objects.get(key)

    def put(self, key: str, stored: StoredObject) -> None:
        if key not in self._objects:
            insort(self._keys, key)
        self._objects[key] = stored

    def delete(self, key: str) -> None:
        if self._objects.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def after(self, prefix: str, start: str) -> Iterator[tuple[str, StoredObject]]:
        """Objects with the prefix whose keys come after `start`, in order."""
        first = bisect_left(self._keys, prefix)
        if start >= prefix:
            first = bisect_left(self._keys, start)
            first += first < len(self._keys) and self._keys[first] == start
        for index in range(first, len(self._keys)):
            key = self._keys[index]
            if not key.startswith(prefix):
                return
            yield key, self._objects[key]


def possible_name(bucket: str) -> bool:
    return _BUCKET_NAME.fullmatch(bucket) is not None
