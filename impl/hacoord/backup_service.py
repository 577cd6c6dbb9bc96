"""How a running node hands out a backup: it takes an image of all it has applied, and sends it part by part."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

from hacoord.checkpoint import Checkpoint
from hacoord.disk.storage import Storage
from hacoord.raft.core import Raft

Reply = Callable[[dict[str, object]], None]


class BackupService:
    """Answers `backup` and `backup_part`; both are an administrator's."""

    def __init__(self, raft: Raft, checkpoint: Checkpoint, storage: Storage) -> None:
        self._raft = raft
        self._checkpoint = checkpoint
        self._storage = storage

    def begin(self, reply: Reply) -> None:
        """Take an image, and reply with what it is once it is there."""
        self._checkpoint.request(lambda _: reply(self._offer()))

    def part(self, request: Mapping[str, object]) -> dict[str, object]:
        """Some of the image that was offered, from an offset on."""
        image, offset = self._storage.image, request.get("offset")
        if image is None or image.checksum.hex() != request.get("checksum"):
            return {"error": "gone", "reason": "there is a newer image meanwhile: ask for a backup again"}
        if type(offset) is not int or not 0 <= offset < image.size:
            return {"error": "bad_request", "reason": f"an offset from 0 to {image.size - 1} is wanted"}
        return {"data": base64.b64encode(self._storage.image_part(image, offset)).decode()}

    def _offer(self) -> dict[str, object]:
        image = self._raft.newest_image
        if image is None:
            return {"error": "empty", "reason": f"node {self._storage.node} knows nothing yet that is committed"}
        base = image.base
        described = [base.last, base.last_term, base.digest.hex(), base.epoch, image.size, image.checksum.hex()]
        return {"cluster": self._storage.cluster, "node": self._storage.node, "image": described}
