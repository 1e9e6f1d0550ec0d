"""Generates the stubs of engram.v1 while the package is built; the rest is in pyproject.toml.

The protos are the repository's own (../../proto). A source distribution takes them along as proto/,
so that a wheel can be built from it without the repository.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent


def proto_folder() -> Path:
    """Of the source distribution, or else of the repository."""
    for folder in (HERE / "proto", HERE.parents[1] / "proto"):
        if (folder / "engram" / "v1" / "learning.proto").is_file():
            return folder
    raise SystemExit(
        f"engram-client: no proto/engram/v1 in {HERE} or {HERE.parents[1]}; build it in the "
        "repository or from a source distribution"
    )


def generate_stubs(package_root: Path) -> list[str]:
    """Writes engram/v1/*_pb2.py, .pyi and _pb2_grpc.py below `package_root`; returns the files."""
    import grpc_tools
    from grpc_tools import protoc

    protos = proto_folder()
    sources = sorted((protos / "engram" / "v1").glob("*.proto"))
    package_root.mkdir(parents=True, exist_ok=True)
    arguments = [
        "protoc",
        f"-I{protos}",
        f"-I{Path(grpc_tools.__file__).parent / '_proto'}",  # google/protobuf
        f"--python_out={package_root}",
        f"--pyi_out={package_root}",
        f"--grpc_python_out={package_root}",
        *map(str, sources),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("engram-client: protoc failed; its errors are above")
    folder = package_root / "engram" / "v1"
    (folder / "__init__.py").write_text('"""Messages and services of engram.v1, generated."""\n')
    return [str(file) for file in sorted(folder.iterdir()) if file.is_file()]


class BuildWithStubs(build_py):
    """build_py, and the stubs beside what it copies (or in src, for an editable install)."""

    _stubs: list[str] = []

    def run(self) -> None:
        if not self.editable_mode:  # what an earlier build left would go into the wheel
            shutil.rmtree(Path(self.build_lib) / "engram", ignore_errors=True)
        super().run()
        root = HERE / "src" if self.editable_mode else Path(self.build_lib)
        self._stubs = generate_stubs(root)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        outputs: list[str] = super().get_outputs(include_bytecode)
        return outputs + self._stubs


class SdistWithProtos(sdist):
    """sdist, and the protos that the stubs are generated from."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        protos = proto_folder()
        for folder in ("engram/v1", "google/rpc"):
            shutil.copytree(protos / folder, Path(base_dir) / "proto" / folder, dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithStubs, "sdist": SdistWithProtos})
