"""Generates `proffer.v1` from the `.proto` files into what is built; nothing generated stands in the source tree."""

from importlib.resources import files
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROTO = Path(__file__).resolve().parents[2] / "proto"
# Between masters and agents alone.
NOT_FOR_FRAMEWORKS = {"agent_link"}


class BuildWithStubs(build_py):
    """Copies the package, then adds the stubs and their type hints."""

    def run(self) -> None:
        super().run()
        from grpc_tools import protoc

        names = sorted(path.stem for path in (PROTO / "proffer/v1").glob("*.proto"))
        names = [name for name in names if name not in NOT_FOR_FRAMEWORKS]
        out = self.build_lib
        include = files("grpc_tools") / "_proto"
        options = [f"-I{PROTO}", f"-I{include}", f"--python_out={out}", f"--pyi_out={out}", f"--grpc_python_out={out}"]
        sources = [str(PROTO / f"proffer/v1/{name}.proto") for name in names]
        if not sources or protoc.main(["protoc", *options, *sources]) != 0:
            raise SystemExit(f"the stubs could not be generated from {PROTO}")
        lines = ['"""The wire: messages and stubs, generated from proto/proffer/v1."""', ""]
        for module in [f"{name}_pb2" for name in names] + [f"{name}_pb2_grpc" for name in names]:
            lines.append(f"from proffer.v1.{module} import *  # noqa: F403")
        (Path(out) / "proffer/v1/__init__.py").write_text("\n".join(lines) + "\n")


setup(cmdclass={"build_py": BuildWithStubs})
