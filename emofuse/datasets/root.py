"""The files of a data set: below a local folder, or any address that fsspec opens."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from emofuse.errors import DataError
from emofuse.io import storage
from emofuse.io.addresses import is_remote
from emofuse.io.retry import reason, storage_exceptions

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")
_END = 4096
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts")


@dataclass(frozen=True)
class Root:
    """Every file of a data set, by its path relative to the data set's folder, with forward slashes.

    Attributes:
        address: the folder as the user gave it, for messages.
        sizes: bytes of each file, by relative path, sorted.
        places: where each file is, as its file system calls it.
        system: the fsspec file system.
    """

    address: str
    sizes: dict[str, int] = field(repr=False)
    places: dict[str, str] = field(repr=False)
    system: Any = field(repr=False)

    @classmethod
    def open(cls, address: str) -> Root:
        """Everything below a folder.

        Raises:
            DataError: if there is no such folder, or it cannot be reached.
            ConfigError: if nothing installed serves the scheme.
        """
        system, base = storage.filesystem(address)
        base = base.rstrip("/")
        try:
            if not system.isdir(base):
                raise DataError(f"no folder at {address}")
            found = _local_files(base) if not is_remote(address) else _remote_files(system, base)
        except storage_exceptions() as error:
            raise DataError(f"cannot list {address}: {reason(error)}") from None
        cut = len(base) + 1
        files = {place[cut:]: place for place in sorted(found)}
        return cls(address, {path: found[place] for path, place in files.items()}, files, system)

    @classmethod
    def of(cls, files: dict[str, Path], address: str) -> Root:
        """Files of this machine gathered under names of their own; those that are absent are left out."""
        from fsspec.implementations.local import LocalFileSystem

        there = {name: file for name, file in sorted(files.items()) if file.is_file()}
        sizes = {name: file.stat().st_size for name, file in there.items()}
        return cls(address, sizes, {name: str(file) for name, file in there.items()}, LocalFileSystem())

    def resolve(self, path: str) -> str | None:
        """The relative path of the file that a data set's table means, or None where there is none.

        Tables write leading slashes, `./`, backslashes, absolute paths, or another Unicode form than
        the disk; `%`, `+` and spaces are letters like any other and stay as they are.
        """
        if not path.strip():
            return None
        for candidate in (path, path.strip(), path.replace("\\", "/")):
            trimmed = os.path.normpath(candidate.lstrip("/"))
            for form in (candidate, trimmed):
                if form in self.sizes:
                    return form
            if found := self._composed.get(unicodedata.normalize("NFC", trimmed)):
                return found
        return self._by_place.get(path)

    @cached_property
    def _composed(self) -> dict[str, str]:
        return {unicodedata.normalize("NFC", path): path for path in self.sizes}

    @cached_property
    def _by_place(self) -> dict[str, str]:
        return {self.uri(path): path for path in self.places}

    def uri(self, path: str) -> str:
        """The address of a file, for a manifest: absolute for local files."""
        from fsspec.implementations.local import LocalFileSystem

        place = self.places[path]
        return place if isinstance(self.system, LocalFileSystem) else self.system.unstrip_protocol(place)

    def read_bytes(self, path: str) -> bytes:
        """A whole file.

        Raises:
            DataError: if it cannot be read.
        """
        return self._read(path, 0)

    def read_end(self, path: str) -> bytes:
        """The last few kB of a file, where compressed images and videos of one size differ."""
        return self._read(path, max(0, self.sizes[path] - _END))

    def _read(self, path: str, start: int) -> bytes:
        try:
            return self.system.cat_file(self.places[path], start=start or None)
        except storage_exceptions() as error:
            raise DataError(f"cannot read {path} in {self.address}: {reason(error)}") from None

    def one_of(self, what: str, *names: str) -> str:
        """The first of these files that is there.

        Raises:
            DataError: if none is.
        """
        for name in names:
            if name in self.sizes:
                return name
        raise DataError(f"no {what} in {self.address}: looked for {', '.join(names)}")


def _local_files(base: str) -> dict[str, int]:
    # Unlike fsspec's own walk this one follows linked folders, which is how large data sets are often laid out.
    found = {}
    for folder, inner, names in os.walk(base or "/", onerror=_refuse, followlinks=True):
        inner[:] = [name for name in inner if not _leads_back(folder, name)]
        for name in names:
            place = os.path.join(folder, name)
            if os.path.isfile(place):
                found[place] = os.path.getsize(place)
    return found


def _refuse(error: OSError) -> None:
    raise error


def _leads_back(folder: str, name: str) -> bool:
    """Whether an inner folder is a link to one that holds it."""
    place = os.path.join(folder, name)
    return os.path.islink(place) and Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(place))


def _remote_files(system: Any, base: str) -> dict[str, int]:
    return {place: int(info.get("size") or 0) for place, info in system.find(base, detail=True).items()}


def is_image(path: str) -> bool:
    """Whether a file is an image by its name; hidden files are none."""
    return _is(path, IMAGE_SUFFIXES)


def is_video(path: str) -> bool:
    """Whether a file is a video by its name; hidden files are none."""
    return _is(path, VIDEO_SUFFIXES)


def _is(path: str, suffixes: tuple[str, ...]) -> bool:
    return path.lower().endswith(suffixes) and not any(part.startswith(".") for part in path.split("/"))
