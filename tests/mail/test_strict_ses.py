"""The embedded AWS's SES, which knows nothing of relayd, refuses none of the mails that relayd rewrote."""

from pathlib import Path

import pytest

from relayd.sandbox.cloud import raw_mail
from tests.mail.judge import rewritten
from tests.mail.test_corpora import CORPORA, files_of, variants_of


@pytest.mark.parametrize("folder", CORPORA, ids=["mikel-mail", "cpython"])
def test_no_rewritten_mail_is_refused(folder: Path) -> None:
    """As they are, with other line ends, and damaged by 8-bit bytes."""
    if not folder.is_dir():
        pytest.skip(f"{folder} is not on this machine")
    refused: list[str] = []
    seen = 0
    for path in files_of(folder):
        for raw in variants_of(path.read_bytes()):
            seen += 1
            done = rewritten(raw)
            if done.unsendable_parts:
                # Signed 8-bit content stays as it is; SES refuses it, and a later version sends it as an attachment.
                continue
            try:
                raw_mail.read(done.data, refuse_attachments=False)
            except raw_mail.RawMailError as error:
                refused.append(f"{path.name}: {error}")
    assert seen > 100
    assert refused == []


def test_the_mails_that_cannot_be_sent_yet_are_few() -> None:
    """Byte-identical signed parts that SES would refuse: none of the corpora's mails as they are is one."""
    for folder in CORPORA:
        if folder.is_dir():
            for path in files_of(folder):
                assert rewritten(path.read_bytes()).unsendable_parts == 0, path.name
