"""What `fsck` finds, and what mends it. Pure records: found by the checks, carried out by `repair`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from batchline.model import Batch, File


class Severity(StrEnum):
    """How bad something is."""

    NOTE = "note"
    """A crash leaves this behind; batchline looks after it by itself."""
    WRONG = "wrong"
    """An invariant does not hold."""


@dataclass(frozen=True, slots=True)
class Reindex:
    """Make the indexes anew."""

    effect = "its indexes are made anew"


@dataclass(frozen=True, slots=True)
class Recount:
    """Count again from the outcomes whose bytes are whole; `bad` are segments that are not."""

    batch: Batch
    bad: tuple[int, ...] = ()
    effect = "lines without a whole result run again, everything else is counted anew"


@dataclass(frozen=True, slots=True)
class Recut:
    """Cut the input into slices again, then count."""

    batch: Batch
    effect = "the input is cut into slices again, results that are there are kept"


@dataclass(frozen=True, slots=True)
class Break:
    """End a batch that can never end well."""

    batch: Batch
    reason: str
    effect = "the batch ends as failed, saying why"


@dataclass(frozen=True, slots=True)
class Forget:
    """Drop the row of a file whose bytes are not what they were; what is left goes to lost+found."""

    file: File
    effect = "the file is dropped, what is left of it goes to lost+found; a backup may have it"


@dataclass(frozen=True, slots=True)
class CancelUpload:
    """End an upload of which a part is lost."""

    upload_id: str
    effect = "the upload is cancelled"


@dataclass(frozen=True, slots=True)
class Reorder:
    """Make the index of a published batch anew, in the order of its input."""

    batch: Batch
    output: File | None
    error: File | None
    effect = "the index is made anew, numbering lines in the order of the input"


@dataclass(frozen=True, slots=True)
class ForgetGarbage:
    """Drop notes about bytes to be deleted that no blob can be called."""

    keys: Sequence[str]
    effect = "the notes are dropped"


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete blobs that nothing names, or what dead writers left."""

    keys: Sequence[str] = ()
    abandoned: bool = False
    effect = "they are deleted"


@dataclass(frozen=True, slots=True)
class DropRows:
    """Drop rows of lines that nothing leads to."""

    batch_seqs: Sequence[int]
    effect = "the rows are dropped"


@dataclass(frozen=True, slots=True)
class RaiseToken:
    """Let fencing tokens go on above those in use."""

    least: int
    effect = "it goes on above the highest"


Mend = (
    Reindex
    | Recount
    | Recut
    | Break
    | Forget
    | CancelUpload
    | Reorder
    | ForgetGarbage
    | Delete
    | DropRows
    | RaiseToken
)


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is not as it should be. Without `mend`, a person has to decide: `advice`."""

    check: str
    subject: str
    what: str
    severity: Severity = Severity.WRONG
    mend: Mend | None = None
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Sound:
    """A check that found nothing wrong, and what it looked at."""

    check: str
    what: str


Found = Damage | Sound
