"""Compiles cuda/kernels/*.cu to PTX beside them, with NVIDIA's compiler from PyPI.

    make kernels

The PTX is part of the tree, so that nobody needs this to build or to run. Its first line names
what it was made of; `cargo test -p cuda` says when that is not today's source.

NVRTC 13.0 makes PTX that drivers from 580 on take, for GPUs of compute capability 7.5 and later.
"""

import ctypes
import hashlib
import pathlib
import sys

KERNELS = pathlib.Path(__file__).resolve().parents[2] / "cuda" / "kernels"
OPTIONS = ["--gpu-architecture=compute_75", "--std=c++17", "-default-device"]


def library():
    # What the package nvidia-cuda-nvrtc installs.
    import nvidia.cu13

    folder = pathlib.Path(list(nvidia.cu13.__path__)[0]) / "lib"
    # It asks for this one by name only; then it is there already.
    ctypes.CDLL(str(next(folder.glob("libnvrtc-builtins.so.*"))), mode=ctypes.RTLD_GLOBAL)
    return ctypes.CDLL(str(next(folder.glob("libnvrtc.so.*"))))


def check(nvrtc, answer, program=None):
    if answer == 0:
        return
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
    text = nvrtc.nvrtcGetErrorString(answer).decode()
    if program is not None:
        size = ctypes.c_size_t()
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        text += "\n" + log.value.decode()
    sys.exit(f"nvrtc: {text}")


def compile_one(nvrtc, path):
    header = (KERNELS / "device.h").read_bytes()
    source = path.read_bytes()
    program = ctypes.c_void_p()
    headers = (ctypes.c_char_p * 1)(header)
    names = (ctypes.c_char_p * 1)(b"device.h")
    check(
        nvrtc,
        nvrtc.nvrtcCreateProgram(
            ctypes.byref(program), source, path.name.encode(), 1, headers, names
        ),
    )
    options = (ctypes.c_char_p * len(OPTIONS))(*(option.encode() for option in OPTIONS))
    check(nvrtc, nvrtc.nvrtcCompileProgram(program, len(OPTIONS), options), program)
    size = ctypes.c_size_t()
    check(nvrtc, nvrtc.nvrtcGetPTXSize(program, ctypes.byref(size)))
    text = ctypes.create_string_buffer(size.value)
    check(nvrtc, nvrtc.nvrtcGetPTX(program, text))
    digest = hashlib.sha256(header + source).hexdigest()
    ptx = path.with_suffix(".ptx")
    ptx.write_text(f"// Made of {path.name} and device.h {digest}\n{text.value.decode()}")
    print(f"{ptx.relative_to(KERNELS.parents[1])}: {size.value} bytes")


def main():
    nvrtc = library()
    for path in sorted(KERNELS.glob("*.cu")):
        compile_one(nvrtc, path)


main()
