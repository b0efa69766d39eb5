"""Two states of a disk, compared file by file: kind, mode, owner, size, contents, target, extended attributes.

What is left out is named here, with the reason; everything else has to be the same.
"""

import hashlib
import os
import stat

# Paths of a host, with all below them. /run, /tmp, /proc and /sys are mounted and never on the disk.
LEFT_OUT = {
    "/var/log": "logs, which the running system writes by itself",
    "/var/lib/kpeer": "kpeer's own journal and state, which tell what it did",
    "/var/lib/dpkg/status-old": "dpkg's list before the last change, which is none when it is undone",
    "/var/cache/ldconfig/aux-cache": "inode numbers of libraries, which ldconfig keeps to be quicker",
}


class Tree:
    """The state of a disk at one time. A file whose inode says that it did not change is not read again."""

    def __init__(self, root, before=None, left_out=()):
        self.root, self.entries, self.known = str(root), {}, {}
        self.old = before.known if before else {}
        self.left_out = {*LEFT_OUT, *left_out}
        self._walk("")

    def _walk(self, path):
        with os.scandir(self.root + (path or "/")) as found:
            for entry in sorted(found, key=lambda each: each.name):
                inside = f"{path}/{entry.name}"
                if inside in self.left_out:
                    continue
                self.entries[inside] = self._describe(entry)
                if entry.is_dir(follow_symlinks=False):
                    self._walk(inside)

    def _describe(self, entry):
        found = entry.stat(follow_symlinks=False)
        kind = stat.S_IFMT(found.st_mode)
        told = {"kind": stat.filemode(found.st_mode)[0], "mode": f"{stat.S_IMODE(found.st_mode):o}",
                "owner": f"{found.st_uid}:{found.st_gid}"}
        if kind == stat.S_IFREG:
            told["size"], told["contents"] = found.st_size, self._digest(entry.path, found)
        elif kind == stat.S_IFLNK:
            told["target"] = os.readlink(entry.path)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            told["device"] = found.st_rdev
        told["attributes"] = {name: os.getxattr(entry.path, name, follow_symlinks=False)
                              for name in os.listxattr(entry.path, follow_symlinks=False)}
        return told

    def _digest(self, path, found):
        mark = (found.st_ino, found.st_ctime_ns, found.st_mtime_ns, found.st_size)
        if mark not in self.old:
            with open(path, "rb") as file:
                self.old[mark] = hashlib.file_digest(file, "blake2b").hexdigest()
        self.known[mark] = self.old[mark]
        return self.old[mark]

    def differences(self, before):
        """What is different from an earlier state, a line each."""
        for path in sorted({*self.entries, *before.entries}):
            new, old = self.entries.get(path), before.entries.get(path)
            if new == old:
                continue
            if not old or not new:
                yield f"{path}: {'added' if new else 'gone'} ({(new or old)['kind']})"
                continue
            yield f"{path}: " + ", ".join(f"{key} {old.get(key)!s:.40} -> {new.get(key)!s:.40}"
                                          for key in {**old, **new} if old.get(key) != new.get(key))


def assert_same(before, after, what):
    found = list(after.differences(before))
    assert not found, f"{what}: {len(found)} differences:\n" + "\n".join(f"    {line}" for line in found[:60])
