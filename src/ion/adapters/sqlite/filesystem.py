"""Where a database may lie: on a disk of this host.

WAL mode shares memory between the processes that have the file open, and locks by POSIX locks. Network file systems
offer neither reliably: two hosts would each believe that they hold the write lock and damage the file. So they are
refused when the store is opened, by the type of the mount that the file lies on.
"""

from pathlib import Path

from ion.errors import UnsupportedError

_NETWORK = frozenset(
    {
        *("nfs", "nfs3", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "9p", "afs", "ncpfs", "coda", "davfs"),
        *("ceph", "glusterfs", "lustre", "gpfs", "beegfs", "orangefs", "pvfs2", "ocfs2", "gfs2", "virtiofs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.davfs", "fuse.blobfuse2"),
        *("fuse.gcsfuse", "fuse.goofys", "fuse.juicefs", "fuse.cifs", "fuse.smbnetfs", "fuse.nfs", "fuse.seaweedfs"),
    }
)


def refuse_network(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> None:
    """Raises `UnsupportedError` where `path` (resolved; need not exist) lies on a network file system."""
    kind = filesystem_type(path, mountinfo)
    if kind in _NETWORK:
        raise UnsupportedError(
            f"the store {path} is on a network file system ({kind}), where SQLite's locks cannot be trusted; "
            "put it on a local disk with `--store`"
        )


def filesystem_type(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> str:
    """The type of the mount that holds `path`, as the kernel names it; empty where the kernel does not tell."""
    if not mountinfo.exists():
        return ""
    best, kind = -1, ""
    with mountinfo.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            mount, _, rest = line.partition(" - ")
            point = Path(_unescaped(mount.split(" ")[4]))
            # Of two mounts on one point the later line is on top, hence >=.
            if len(point.parts) >= best and path.is_relative_to(point):
                best, kind = len(point.parts), rest.split(" ")[0]
    return kind


def _unescaped(text: str) -> str:
    """The kernel writes space, tab, newline and backslash as octal."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
