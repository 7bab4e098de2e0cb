# SPDX-License-Identifier: MIT
"""fsx.py MOUNT MODEL SEED OPERATIONS: random operations on files in MOUNT, each compared with a model in memory.

At the end the model is written to the folder MODEL. A failure tells the last operations, and the seed repeats them.
"""
import ctypes
import mmap
import os
import random
import sys

MOST = 3 << 20 # bytes of a file
NAMES = ["a", "b", "c"]
PUNCH, ZERO, KEEP = 2, 16, 1

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, offset, length):
        raise OSError(ctypes.get_errno(), "fallocate")


class Run:
    def __init__(self, mount, rng):
        self.mount, self.rng, self.log = mount, rng, []
        self.want = {name: bytearray() for name in NAMES}
        self.fds = {name: os.open(self.path(name), os.O_RDWR | os.O_CREAT, 0o644) for name in NAMES}
        self.scratch = mmap.mmap(-1, MOST)

    def path(self, name):
        return os.path.join(self.mount, name)

    def place(self, name):
        """Somewhere in the file, often at a boundary, sometimes behind the end."""
        size = len(self.want[name])
        at = self.rng.randrange(min(size + size // 4 + 4096, MOST))
        step = self.rng.choice([1, 1, 512, 4096, 16384, 1 << 20])
        return at // step * step

    def length(self):
        return self.rng.choice([1, 7, 511, 4096, 16384, 65536, 200000, self.rng.randrange(1, 300000)])

    def bytes(self, length):
        piece = self.rng.randbytes(min(length, 997))
        return (piece * (length // len(piece) + 1))[:length]

    def grow(self, name, end):
        want = self.want[name]
        if end > len(want):
            want.extend(bytes(end - len(want)))

    def check(self, name, at, got, what):
        want = bytes(self.want[name][at:at + len(got)])
        if got != want:
            first = next(i for i in range(len(got)) if i >= len(want) or got[i] != want[i])
            raise AssertionError(f"{what}: {name} differs at {at + first}")

    def read(self, name):
        at, length = self.place(name), self.length()
        got = os.pread(self.fds[name], length, at)
        self.check(name, at, got, "read")
        if len(got) != max(0, min(length, len(self.want[name]) - at)):
            raise AssertionError("a short read")

    def write(self, name):
        at = self.place(name)
        data = self.bytes(min(self.length(), MOST - at))
        os.pwrite(self.fds[name], data, at)
        self.grow(name, at + len(data))
        self.want[name][at:at + len(data)] = data

    def append(self, name):
        if len(self.want[name]) + 300000 > MOST:
            return
        data = self.bytes(self.length())
        fd = os.open(self.path(name), os.O_WRONLY | os.O_APPEND)
        os.write(fd, data)
        os.close(fd)
        self.want[name] += data

    def truncate(self, name):
        size = self.place(name) if self.rng.random() < 0.95 else 0
        if self.rng.random() < 0.5:
            os.ftruncate(self.fds[name], size)
        else:
            os.truncate(self.path(name), size)
        self.grow(name, size)
        del self.want[name][size:]

    def hole(self, name):
        at, length = self.place(name), self.length()
        mode = self.rng.choice([PUNCH | KEEP, ZERO, ZERO | KEEP, 0, KEEP])
        if at + length > MOST:
            return
        fallocate(self.fds[name], mode, at, length)
        if not mode & KEEP:
            self.grow(name, at + length)
        if mode & (PUNCH | ZERO):
            end = min(at + length, len(self.want[name]))
            if end > at:
                self.want[name][at:end] = bytes(end - at)

    def mapped(self, name):
        size = len(self.want[name])
        if size == 0:
            return
        at = min(self.place(name), size - 1)
        length = min(self.length(), size - at)
        with mmap.mmap(self.fds[name], size) as view:
            self.check(name, at, view[at:at + length], "mapped read")
            if self.rng.random() < 0.6:
                data = self.bytes(length)
                view[at:at + length] = data
                self.want[name][at:at + length] = data
                if self.rng.random() < 0.3:
                    view.flush()

    def direct(self, name):
        at = self.place(name) // 4096 * 4096
        length = (self.length() + 4095) // 4096 * 4096
        if at + length > MOST:
            return
        fd = os.open(self.path(name), os.O_RDWR | os.O_DIRECT)
        view = memoryview(self.scratch)[:length]
        if self.rng.random() < 0.5:
            got = os.preadv(fd, [view], at)
            self.check(name, at, bytes(view[:got]), "direct read")
        else:
            data = self.bytes(length)
            view[:] = data
            os.pwritev(fd, [view], at)
            self.grow(name, at + length)
            self.want[name][at:at + length] = data
        view.release()
        os.close(fd)

    def copy(self, name):
        other = self.rng.choice(NAMES)
        at, to = self.place(name), self.place(other)
        if self.rng.random() < 0.5:
            to = to // 16384 * 16384 + at % 16384
        length = min(self.length(), MOST - to, max(0, len(self.want[name]) - at))
        if length <= 0 or (other == name and at < to + length and to < at + length):
            return
        done = os.copy_file_range(self.fds[name], self.fds[other], length, at, to)
        data = self.want[name][at:at + done]
        self.grow(other, to + done)
        self.want[other][to:to + done] = data

    def clone(self, name):
        other = self.rng.choice([n for n in NAMES if n != name])
        os.ftruncate(self.fds[other], 0)
        self.want[other] = bytearray()
        at, size = 0, len(self.want[name])
        while at < size:
            at += os.copy_file_range(self.fds[name], self.fds[other], size - at, at, at)
        self.want[other] = bytearray(self.want[name])

    def seek(self, name):
        """Outside of what is data everything must be zero."""
        size, at = len(self.want[name]), 0
        while at < size:
            try:
                data = os.lseek(self.fds[name], at, os.SEEK_DATA)
            except OSError as error:
                if error.errno != 6: # ENXIO: no data behind at
                    raise
                data = size
            if any(self.want[name][at:data]):
                raise AssertionError(f"{name}: bytes in a hole between {at} and {data}")
            at = os.lseek(self.fds[name], data, os.SEEK_HOLE) if data < size else size

    def reopen(self, name):
        os.close(self.fds[name])
        self.fds[name] = os.open(self.path(name), os.O_RDWR)

    def rename(self, name):
        other = self.rng.choice([n for n in NAMES if n != name])
        temporary = self.path("t")
        os.rename(self.path(name), temporary)
        os.rename(self.path(other), self.path(name))
        os.rename(temporary, self.path(other))
        for table in (self.want, self.fds):
            table[name], table[other] = table[other], table[name]

    def replace(self, name):
        """A new file over an open one, whose bytes stay until its close."""
        data = self.bytes(self.length())
        fd = os.open(self.path("t"), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(fd, data)
        os.rename(self.path("t"), self.path(name))
        self.check(name, 0, os.pread(self.fds[name], MOST, 0), "replaced, open")
        os.close(self.fds[name])
        self.fds[name], self.want[name] = fd, bytearray(data)

    def forget(self, name):
        """Out of the page cache, so that the next read comes from below."""
        os.fsync(self.fds[name])
        os.posix_fadvise(self.fds[name], 0, 0, os.POSIX_FADV_DONTNEED)

    def whole(self, name):
        size = os.fstat(self.fds[name]).st_size
        if size != len(self.want[name]):
            raise AssertionError(f"{name} has {size} bytes, not {len(self.want[name])}")
        self.check(name, 0, os.pread(self.fds[name], size, 0), "all of it")

    def step(self):
        choices = [(self.write, 20), (self.read, 16), (self.append, 4), (self.truncate, 6), (self.hole, 8),
                   (self.mapped, 8), (self.direct, 8), (self.copy, 10), (self.clone, 2), (self.seek, 2),
                   (self.reopen, 4), (self.rename, 2), (self.replace, 1), (self.forget, 4), (self.whole, 2)]
        call = self.rng.choices([c for c, _ in choices], [w for _, w in choices])[0]
        name = self.rng.choice(NAMES)
        self.log.append(f"{call.__name__} {name} of {len(self.want[name])}")
        call(name)


def main():
    mount, model, seed, operations = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    run = Run(mount, random.Random(seed))
    for i in range(operations):
        try:
            run.step()
        except (AssertionError, OSError) as error:
            print("\n".join(run.log[-20:]), f"\nseed {seed}, operation {i}: {error}", file=sys.stderr)
            sys.exit(1)
    os.mkdir(model)
    for name in NAMES:
        run.whole(name)
        os.fsync(run.fds[name])
        with open(os.path.join(model, name), "wb") as out:
            out.write(run.want[name])
    # Not what this test is about: times and the folder's own mode.
    for name in NAMES:
        at = os.stat(run.path(name))
        os.utime(os.path.join(model, name), ns=(at.st_atime_ns, at.st_mtime_ns))
    at = os.stat(mount)
    os.chmod(model, at.st_mode & 0o7777)
    os.utime(model, ns=(at.st_atime_ns, at.st_mtime_ns))


main()
