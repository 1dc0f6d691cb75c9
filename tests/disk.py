"""A disk that fills up at a chosen write, or whose power fails before a chosen step: a shim around what a process does
to the files below a folder. On the real disk everything happens; what outlasts a cut is kept account of here.

What a cut leaves: a file's content as it was when last flushed (fsync), a folder's entries as they were when that
folder was last flushed; of later entries the first few, or none."""

import builtins
import errno
import io
import os
import random
import shutil
from pathlib import Path

CUT = 9  # exit status of a process whose power failed
FULL = ("open", "write", "fsync", "replace", "link", "mkdir")  # steps that a full disk refuses


class Disk:
    """steps: what was done, (kind, path). full_at: the number among the steps of FULL, from 1 on, that fails. cut_at:
    the number of the step before which the power fails; `after`: an empty folder for what is left then."""

    def __init__(self, root: Path, *, full_at=0, cut_at=0, after: Path | None = None, seed=0):
        self.root, self.full_at, self.cut_at, self.after, self.rng = root, full_at, cut_at, after, random.Random(seed)
        self.steps, self.refusable, self.descriptors, self.fresh = [], 0, {}, 0
        self.real = {name: getattr(os, name) for name in ("open", "fsync", "replace", "unlink", "mkdir", "link")}
        self.real_open = builtins.open
        self.live = {path: path.read_bytes() if path.is_file() else None for path in root.rglob("*")}
        self.synced = {path: content for path, content in self.live.items() if content is not None}  # by id
        self.live = {path: path if content is not None else None for path, content in self.live.items()}  # path: id
        self.durable, self.pending = dict(self.live), []  # path: id, None for a folder; (folder, path, id or GONE)

    def __enter__(self):
        for name in self.real:
            setattr(os, name, getattr(self, name))
        os.rename, os.remove = os.replace, os.unlink
        builtins.open = io.open = self.open_file
        return self

    def __exit__(self, *_):
        for name, function in self.real.items():
            setattr(os, name, function)
        os.rename, os.remove = os.replace, os.unlink
        builtins.open = io.open = self.real_open

    def mine(self, path):
        return not isinstance(path, int) and Path(os.fspath(path)).is_relative_to(self.root)

    def step(self, kind, path):
        self.steps.append((kind, Path(path).name))
        if len(self.steps) == self.cut_at:
            self.power_off()
        self.refusable += kind in FULL
        if kind in FULL and self.refusable == self.full_at:
            named = [str(path)] if kind not in ("write", "fsync") else []  # as the system does
            raise OSError(errno.ENOSPC, "No space left on device", *named)

    # --- what a process does to files

    def created(self, path):
        self.fresh += 1
        self.entry(Path(path), self.fresh)

    def entry(self, path, what):
        self.pending.append((path.parent, path, what))
        if what == "gone":
            self.live.pop(path, None)
        else:
            self.live[path] = what

    def open(self, path, flags, *rest, **options):
        if not self.mine(path):
            return self.real["open"](path, flags, *rest, **options)
        if flags & os.O_CREAT and not os.path.lexists(path):
            self.step("open", path)
            self.created(path)
        descriptor = self.real["open"](path, flags, *rest, **options)
        self.descriptors[descriptor] = Path(path)
        return descriptor

    def open_file(self, path, mode="r", *rest, **options):
        if isinstance(path, int):
            file = self.real_open(path, mode, *rest, **options)
            return File(self, file, self.descriptors[path]) if path in self.descriptors and "+" in mode else file
        if not self.mine(path):
            return self.real_open(path, mode, *rest, **options)
        path, writes = Path(path), set(mode) & set("wax+")
        if writes:
            self.step("open", path)
        file = self.real_open(path, mode, *rest, **options)
        if writes and self.live.get(path) is None:
            self.created(path)
        elif "w" in writes:
            self.synced[self.live[path]] = b""
        self.descriptors[file.fileno()] = path
        return File(self, file, path) if writes else file

    def fsync(self, descriptor):
        path = self.descriptors.get(descriptor)
        if path is not None:
            self.step("fsync", path)
        self.real["fsync"](descriptor)
        if path is not None and path.is_dir():
            for folder, entry, what in self.pending:
                if folder == path:
                    self.durable[entry] = what
            self.pending = [one for one in self.pending if one[0] != path]
        elif path is not None:
            self.synced[self.live[path]] = path.read_bytes()

    def replace(self, source, target, **options):
        if not self.mine(target):
            return self.real["replace"](source, target, **options)
        self.step("replace", target)
        self.real["replace"](source, target, **options)
        what = self.live[Path(source)]
        self.entry(Path(target), what)
        self.entry(Path(source), "gone")

    def link(self, source, target, **options):
        if self.mine(target):
            self.step("link", target)
        self.real["link"](source, target, **options)
        if self.mine(target):
            self.entry(Path(target), self.live[Path(source)])

    def unlink(self, path, **options):
        if self.mine(path) and "dir_fd" not in options:
            self.step("unlink", path)
            self.real["unlink"](path, **options)
            self.entry(Path(path), "gone")
        else:
            self.real["unlink"](path, **options)

    def mkdir(self, path, *rest, **options):
        if not self.mine(path):
            return self.real["mkdir"](path, *rest, **options)
        if not os.path.isdir(path):
            self.step("mkdir", path)
        self.real["mkdir"](path, *rest, **options)
        self.entry(Path(path), None)

    # --- the end

    def power_off(self):
        left = dict(self.durable)
        for _, path, what in self.pending[: self.rng.choice((0, self.rng.randint(0, len(self.pending))))]:
            left[path] = what
        self.__exit__()
        for path, what in sorted(left.items()):
            to = self.after / path.relative_to(self.root)
            if what == "gone" or not to.parent.is_dir():
                continue
            to.mkdir() if what is None else to.write_bytes(self.synced.get(what, b""))
        os._exit(CUT)


class File:
    """A file open for writing, whose writes are steps."""

    def __init__(self, disk, file, path):
        self.disk, self.file, self.path = disk, file, path

    def write(self, content):
        try:
            self.disk.step("write", self.path)
        except OSError:
            self.file.write(content[: len(content) // 2])  # the disk took that much
            self.file.flush()
            raise
        return self.file.write(content)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)


def take_its_place(folder: Path, after: Path) -> None:
    """The disk as it was left takes the place of a folder."""
    shutil.rmtree(folder)
    after.rename(folder)
