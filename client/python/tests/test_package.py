"""The package as users get it: a source distribution, a wheel made of it, a fresh environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[3]


def build(command: str, source: Path, out: Path) -> Path:
    """What pip and build call, without a build environment from the network."""
    code = f"import setuptools.build_meta as b, sys; b.{command}(sys.argv[1])"
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", code, out],
        cwd=source,
        env=environment,
        check=True,
        capture_output=True,
    )
    (made,) = out.iterdir()
    return made


def test_sdist_wheel_and_a_fresh_environment(tmp_path: Path) -> None:
    source = tmp_path / "repository" / "client" / "python"
    shutil.copytree(
        ROOT / "client" / "python", source, ignore=shutil.ignore_patterns("build", "*.egg-info")
    )
    shutil.copytree(ROOT / "proto", tmp_path / "repository" / "proto")
    (tmp_path / "sdist").mkdir()
    (tmp_path / "wheel").mkdir()
    sdist = build("build_sdist", source, tmp_path / "sdist")
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "xzf", sdist], cwd=tmp_path / "unpacked", check=True)
    # Away from the repository: the wheel is made of what the source distribution holds.
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    wheel = build("build_wheel", unpacked, tmp_path / "wheel")

    names = zipfile.ZipFile(wheel).namelist()
    assert {"engram/py.typed", "engram/v1/learning_pb2.py", "engram/v1/learning_pb2.pyi"} <= set(
        names
    )
    assert not [name for name in names if name.startswith(("google/", "tests/"))]

    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=False)
    (site,) = fresh.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    # Its dependencies lie in the environment that runs this test.
    shared = [path for path in sys.path if path.endswith("site-packages")]
    (site / "shared.pth").write_text("\n".join(shared))
    shown = subprocess.run(
        [
            fresh / "bin" / "python",
            "-W",
            "error",
            "-c",
            "import engram, importlib.metadata as m;"
            "print(engram.__file__, engram.__version__, m.version('engram-client'))",
        ],
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        check=True,
        capture_output=True,
        text=True,
    )
    file, *versions = shown.stdout.split()
    assert Path(file).is_relative_to(site)
    assert versions == ["0.1.0", "0.1.0"]
