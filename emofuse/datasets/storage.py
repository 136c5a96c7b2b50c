"""Where a data set lies: a local folder or any address that fsspec opens."""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any

from emofuse.errors import DataError
from emofuse.media import is_remote

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif")


@dataclass(frozen=True)
class Root:
    """A folder with everything below it; paths are relative to it, with forward slashes.

    Attributes:
        address: as the user gave it, for messages.
        base: the folder as its file system calls it.
        system: the fsspec file system.
    """

    address: str
    base: str
    system: Any = field(repr=False)

    @classmethod
    def open(cls, address: str) -> Root:
        """The folder behind an address.

        Raises:
            DataError: if there is no such folder, or no driver for its scheme.
        """
        import fsspec

        # A local path is no URL: fsspec would read a "::" or a "#" in it as part of its own grammar.
        target = address if is_remote(address) else "file://" + os.path.abspath(os.path.expanduser(_local(address)))
        try:
            system, base = fsspec.core.url_to_fs(target)
            found = system.isdir(base)
        except (ImportError, ValueError) as error:
            raise DataError(f"cannot open {address}: {error}") from None
        except OSError as error:
            raise DataError(f"cannot reach {address}: {type(error).__name__}: {error}") from None
        if not found:
            raise DataError(f"no folder at {address}")
        return cls(address, base.rstrip("/"), system)

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Size in bytes of every file below the folder, by relative path, sorted."""
        found = self.system.find(self.base, detail=True)
        cut = len(self.base) + 1
        return {path[cut:]: int(found[path].get("size") or 0) for path in sorted(found)}

    @cached_property
    def _by_form(self) -> dict[str, str]:
        return {unicodedata.normalize("NFC", path): path for path in self.sizes}

    def resolve(self, path: str) -> str | None:
        """The relative path of the file that a data set's table means, or None where there is none.

        Tables write leading slashes, `./`, backslashes, or another Unicode form than the disk; `%`,
        `+` and spaces are letters like any other and stay as they are.
        """
        for candidate in (path, path.strip(), path.replace("\\", "/")):
            trimmed = os.path.normpath(candidate.lstrip("/")) if candidate else candidate
            for form in (candidate, trimmed):
                if form in self.sizes:
                    return form
            found = self._by_form.get(unicodedata.normalize("NFC", trimmed))
            if found is not None:
                return found
        inside = path.removeprefix(self.base + "/")
        return inside if inside in self.sizes else None

    def uri(self, path: str) -> str:
        """The address of a file, for a manifest: absolute for local files."""
        full = f"{self.base}/{path}"
        return full if self._is_local else self.system.unstrip_protocol(full)

    @property
    def _is_local(self) -> bool:
        return "file" in (self.system.protocol if isinstance(self.system.protocol, tuple) else (self.system.protocol,))

    def open_file(self, path: str, mode: str = "rb", **options: Any) -> IO[Any]:
        """Open a file below the folder."""
        return self.system.open(f"{self.base}/{path}", mode, **options)

    def read_bytes(self, path: str) -> bytes:
        """A whole file below the folder."""
        return self.system.cat_file(f"{self.base}/{path}")

    def one_of(self, what: str, *names: str) -> str:
        """The first of these files that is there.

        Raises:
            DataError: if none is.
        """
        for name in names:
            if name in self.sizes:
                return name
        raise DataError(f"no {what} in {self.address}: looked for {', '.join(names)}")


def _local(address: str) -> str:
    return address.removeprefix("file://") if address.startswith("file://") else address


def is_picture(path: str) -> bool:
    """Whether a file's name says that it is a picture; hidden files are none."""
    return path.lower().endswith(PICTURE_SUFFIXES) and not any(part.startswith(".") for part in path.split("/"))
