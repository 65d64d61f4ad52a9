"""Assembles the root file system of the image: what the sidecar needs to run, and nothing else.

It runs in a build stage, with the interpreter of the virtual environment in which secagg is installed. It takes this
environment, the interpreter, the parts of the standard library that a service can need, and the shared libraries that
all of these load. Shell, package manager, compiler and tests stay behind. Whatever differs between two builds of the
same sources is left out or fixed: times, byte code that has times, caches.

Modules are byte code without their sources, and most of the standard library is in an archive, where Python looks
first. This halves the size of the modules.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

UID: Final = 65532
"""The user that the sidecar runs as. Other images without a shell use the same number for it."""

HOMES: Final = "etc/secagg", "run/secagg", "var/lib/secagg"
"""Folders of that user, where an operator mounts volumes: identity and settings, control socket, state and ledgers."""

UNWANTED_MODULES: Final = re.compile(
    r"""
      (__phello__|antigravity|this|turtle|turtledemo|idlelib|tkinter|curses)           # for people at a terminal
    | (pdb|pydoc_data|test)                                                            # for developers
    | (config-.*|ensurepip|lib2to3|pip|venv)                                           # to install packages
    | (_pyio|dbm)                                                                      # nobody uses them here
    """,
    re.VERBOSE,
)
"""Modules and packages of the standard library that are left out."""

UNWANTED_EXTENSIONS: Final = re.compile(r"_(codecs_|ctypes_test|curses|dbm|gdbm|test|tkinter|xx)|readline|xx")
"""Their shared libraries, by the beginning of the name, and the encodings of East Asia."""

UNWANTED: Final = re.compile(
    r"""
      (^|/)(tests|__pycache__)(/|$)                     # tests; byte code that has times
    | \.(a|c|cpp|h|hpp|pc|pxd|pyi|pyx|build)$           # for compilers and type checkers
    | ^(pip|setuptools|wheel)([-/]|$)
    | ^(cffi|pycparser)[-/]                             # cryptography needs no more than _cffi_backend
    | ^numpy/(_pyinstaller|conftest|_core/(_multiarray_tests|_simd))(/|\.|$)
    | ^grpc/_cython/_credentials/                       # CAs of the web, whom no participant trusts
    | ^pygments/(formatters|lexers|styles)/(?!__init__|_mapping|default|python|special|terminal)
    | ^secagg/tools/
    | ^secagg_client/(flower|nvflare|torch)/            # their frameworks are not here
    | \.dist-info/(RECORD|REQUESTED|direct_url\.json)$
    """,
    re.VERBOSE,
)
"""What is left out of site-packages, as paths there."""

FOR_SCIPY: Final = re.compile(r"^numpy/(f2py|polynomial|random|testing)/")
"""What else is left out where the accounting for noise is not installed. Our randomness is the operating system's."""

UNZIPPED: Final = re.compile(r"lib-dynload/|encodings/|_sysconfigdata|os\.pyc$")
"""Of the standard library: what cannot be in an archive, what Python needs to read one, and how it finds its home."""


def main(destination: Path, homes: Path) -> None:
    """Write the root file system, and apart from it the folders that have another owner."""
    library, packages = Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))
    environment, program = Path(sys.prefix), Path(sys.executable).resolve()
    copied = [copy(program, destination)]
    copied += copy_tree(library, destination, is_unwanted_module)
    unwanted = [UNWANTED] if (packages / "scipy").is_dir() else [UNWANTED, FOR_SCIPY]
    copied += copy_tree(packages, destination, lambda path: any(what.search(path.as_posix()) for what in unwanted))
    for name in ("bin/secagg", "bin/secagg-server", "pyvenv.cfg"):
        copy(environment / name, destination)
    (inside(destination, environment) / "bin/python").symlink_to(program)
    (inside(destination, program.parent) / "python3").symlink_to(program.name)
    copy_libraries(copied, destination)
    write_accounts(destination / "etc")
    for path in HOMES:
        (homes / path).mkdir(parents=True)
        (destination / path).parent.mkdir(parents=True, exist_ok=True)
    for folder in (library, packages):
        compile_modules(destination, folder)
    archive_library(destination, library)
    fix(destination)
    fix(homes)


def inside(destination: Path, folder: Path) -> Path:
    """Where a folder of this system is in the new one; made if it is not there."""
    to = destination / folder.resolve().relative_to("/")
    to.mkdir(parents=True, exist_ok=True)
    return to


def copy(path: Path, destination: Path) -> Path:
    shutil.copy(path, inside(destination, path.parent) / path.name)
    return path


def copy_tree(folder: Path, destination: Path, unwanted: Callable[[Path], bool]) -> Iterator[Path]:
    """Copy the files of a folder, but for those that are unwanted by their path in it."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not unwanted(path.relative_to(folder)):
            yield copy(path, destination)


def is_unwanted_module(path: Path) -> bool:
    """Whether a file of the standard library is left out."""
    if path.parts[0] == "lib-dynload":
        return UNWANTED_EXTENSIONS.match(path.name) is not None
    return (
        UNWANTED_MODULES.fullmatch(path.parts[0].removesuffix(".py")) is not None
        or path.parts[0] in ("dist-packages", "site-packages")
        or "__pycache__" in path.parts
    )


def copy_libraries(files: Iterable[Path], destination: Path) -> None:
    """Copy the shared libraries that programs and modules load, with the cache by which they are found."""
    libraries = {found for path in files if is_elf(path) for found in libraries_of(path)}
    packages = Path(sysconfig.get_path("purelib")).resolve()
    for path in sorted(libraries):
        if not path.resolve().is_relative_to(packages):
            copy(path, destination)
    for folder in (Path("/lib"), Path("/lib64")):
        if folder.is_symlink():
            (destination / folder.name).symlink_to(folder.readlink())
    etc = inside(destination, Path("/etc"))
    (etc / "ld.so.conf").write_text("".join(f"{folder}\n" for folder in sorted({path.parent for path in libraries})))
    subprocess.run(["/sbin/ldconfig", "-X", "-r", destination], check=True)
    (etc / "ld.so.conf").unlink()


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def libraries_of(path: Path) -> list[Path]:
    """The shared libraries that a file loads, directly and indirectly."""
    told = subprocess.run(["/usr/bin/ldd", path], capture_output=True, text=True, check=True).stdout
    if "not found" in told:
        sys.exit(f"{path} needs a library that is not there:\n{told}")
    return [Path(found) for found in re.findall(r"(/\S+) \(0x", told)]


def write_accounts(etc: Path) -> None:
    (etc / "passwd").write_text(f"root:x:0:0:root:/:/nonexistent\nsecagg:x:{UID}:{UID}:secagg:/:/nonexistent\n")
    (etc / "group").write_text(f"root:x:0:\nsecagg:x:{UID}:\n")
    (etc / "nsswitch.conf").write_text("hosts: files dns\n")


def compile_modules(destination: Path, folder: Path) -> None:
    """Exchange sources for byte code that is taken as it is. The hash seed is fixed, for equal code."""
    to = inside(destination, folder)
    options: list[str | Path] = ["-q", "-b", "--invalidation-mode", "unchecked-hash", "-s", destination, "-p", "/"]
    subprocess.run([sys.executable, "-m", "compileall", *options, to], check=True, env={"PYTHONHASHSEED": "0"})
    for source in to.rglob("*.py"):
        source.unlink()


def archive_library(destination: Path, library: Path) -> None:
    """Put the modules of the standard library into the archive that Python looks into before its folder."""
    folder = inside(destination, library)
    name = f"python{sys.version_info.major}{sys.version_info.minor}.zip"
    with zipfile.ZipFile(folder.parent / name, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(folder.rglob("*.pyc")):
            place = path.relative_to(folder).as_posix()
            if not UNZIPPED.match(place):
                archive.writestr(zipfile.ZipInfo(place), path.read_bytes(), zipfile.ZIP_DEFLATED)
                path.unlink()
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def fix(folder: Path) -> None:
    """Times and modes that depend on nothing but SOURCE_DATE_EPOCH and on what is meant to be run."""
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            runs = path.is_dir() or path.parent.name == "bin" or path.name.startswith("ld-")
            path.chmod(0o755 if runs else 0o644)
        os.utime(path, (epoch, epoch), follow_symlinks=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
