"""Files that others wrote or may be writing: locks, whole or not at all, checksums, archives, and what is no file at
all.

Every fault of a file raises `DataError`, whose message names the file and what to do.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import platform
import shutil
import stat
import struct
import time
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from .messages import DataError, PlainError, shown

LOCK = ".lock"
KINDS = (  # what a path may lead to beside a file
    (stat.S_ISFIFO, "a pipe"), (stat.S_ISDIR, "a folder"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device")
)  # fmt: skip
MAX_BYTES = 4 << 30  # of a cache, unpacked; all of CelebA has 2.5 GB

# what the readers of other libraries raise for a file that is not what it should be
UNREADABLE = (OSError, ValueError, EOFError, KeyError, IndexError, TypeError, AttributeError, SyntaxError,
              ArithmeticError, MemoryError, RuntimeError, struct.error, zlib.error, zipfile.BadZipFile,
              Image.DecompressionBombError)  # fmt: skip


def reason(error: BaseException) -> str:
    """Why a file could not be used, without the path that the sentence around it names already."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def open_regular(path: Path):
    """A file, open for reading its bytes. Raises OSError, and for what is no regular file too: a pipe would wait for
    ever, a device never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    kind = next((name for test, name in KINDS if test(mode)), "something else")
    raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def read_limited(path: Path, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes. Raises OSError."""
    with open_regular(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(errno.EFBIG, f"it has more than {limit:,} bytes", str(path))
    return content


def files_below(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Names, relative to the folder and with /, of all files in it and its subfolders but hidden ones, sorted; and of
    each folder that can't be read the reason. What is no regular file is among the names: whoever reads it says so."""
    found, closed = [], {}
    for path, folders, names in os.walk(folder, onerror=lambda error: closed.update({error.filename: reason(error)})):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [(Path(path) / name).relative_to(folder).as_posix() for name in names if not name.startswith(".")]
    return sorted(found), closed


class HeldError(PlainError):
    """Another process works in a folder; the message names both."""


def take(folder: Path, wait: float):
    """The lock of a folder, an open file: whoever has it is the only process that works there, and half-written files
    that a dead one left are swept. The system itself lets go when the process ends, however it ends.

    Raises HeldError, naming the holder, after `wait` seconds.
    """
    make_folder(folder)
    path, give_up = folder / LOCK, time.monotonic() + wait
    while (file := _try_lock(path)) is None:
        if time.monotonic() > give_up:
            who = shown(path.read_text(errors="replace"), 200) if path.exists() else ""
            raise HeldError(f"{folder} is in use by {who or 'another process'}; wait until it is done, or stop it")
        time.sleep(0.1)
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()
    except OSError as error:
        raise _named(error, path) from None
    for part in folder.glob(".*.part*"):
        shutil.rmtree(part) if part.is_dir() else part.unlink(missing_ok=True)
    return file


def _try_lock(path: Path):
    # no link: another file would be emptied
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):  # else the holder before has just removed it
            return file
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        file.close()
        if error.errno not in (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK):
            raise
        raise HeldError(
            f"{path.parent} lies on a disk without file locks ({reason(error)}), where two processes could write "
            f"at once; move the project to another disk, or mount this one with them (Lustre: the option flock)"
        ) from None
    file.close()
    return None


@contextlib.contextmanager
def hold(folder: Path, wait: float = 10.0):
    """`take` the folder's lock for the time of a with block, after which the lock's file is gone."""
    file = take(folder, wait)
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        file.close()


def checked_zip(path: Path, again: str) -> zipfile.ZipFile:
    """A zip archive, opened after a look at what it really is. Raises DataError for an HTML page or a truncated file;
    `again` says how to get it."""
    try:
        with open_regular(path) as file:
            head = file.read(512).lstrip().lower()
        if head.startswith((b"<!doctype", b"<html", b"<?xml")):
            raise DataError(f"{path} is a web page, not a zip archive (the download was refused); delete it. {again}")
        return zipfile.ZipFile(path)
    except PermissionError as error:
        raise DataError(f"{path} can't be read ({reason(error)}); get the right to read it, and run again") from None
    except UNREADABLE as error:
        raise DataError(
            f"{path} is not a whole zip archive ({reason(error)}); the download was cut short: delete it. {again}"
        ) from None


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file. Raises OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def digest_arrays(*arrays: np.ndarray) -> str:
    """sha256 over arrays, their types and shapes."""
    h = hashlib.sha256()
    for a in arrays:
        h.update(f"{a.dtype.str}{a.shape}".encode())
        h.update(np.ascontiguousarray(a).tobytes())
    return h.hexdigest()


def write_npz(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Compressed npz, complete or not there at all. Raises OSError, naming the file."""
    with _in_place_of(path, ".part.npz") as part:
        np.savez_compressed(part, **arrays)


MADE_ANEW = "delete it and run again, and it is made anew"


def read_npz(path: Path, keys: tuple[str, ...], mend: str = MADE_ANEW) -> dict[str, np.ndarray]:
    """The named arrays of an npz file; nothing in it is unpickled. Raises DataError where it is broken or lacks one;
    `mend` says what to do then."""
    try:
        with open_regular(path) as raw:
            with zipfile.ZipFile(raw) as archive:
                if (size := sum(member.file_size for member in archive.infolist())) > MAX_BYTES:
                    raise DataError(f"{path} would unpack to {size:,} bytes, more than any cache has; {mend}")
            raw.seek(0)
            with np.load(raw, allow_pickle=False) as file:
                if missing := [key for key in keys if key not in file.files]:
                    raise DataError(f"{path} lacks the array {missing[0]!r}; {mend}")
                return {key: file[key] for key in keys}
    except UNREADABLE as error:
        raise DataError(f"{path} can't be read as npz ({reason(error)}); {mend}") from None


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target, flush to the disk, rename: `path` is the old file or the new one, never half of one.

    Raises OSError, naming the file, where the disk is full or not to be written."""
    with _in_place_of(Path(path), ".part") as part, open(part, "wb") as file:
        file.write(content)


@contextlib.contextmanager
def _in_place_of(path: Path, ending: str):
    """A path beside `path` for what shall take its place, which it does when the with block has written it; after an
    error it is gone."""
    part = path.with_name(f".{path.name}.{os.getpid()}{ending}")
    try:
        make_folder(path.parent)
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise _named(error, path) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    sync_folder(path.parent)


def _named(error: OSError, path: Path) -> OSError:
    return OSError(error.errno, f"{error.strerror}: {path} was not written, and is as it was before")


def make_folder(folder: Path) -> None:
    """A folder and those above it, where they are not there; what is put on the disk in it outlasts a power cut.

    Raises OSError."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in new:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Put on the disk which files a folder holds. Raises OSError, naming it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: {folder} can't be flushed to the disk") from None
        finally:
            os.close(descriptor)
