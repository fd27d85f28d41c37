"""Byte-compiles the files listed in a JSON file, the same way whatever runs beside it.

Argument: the list, `{"workers": N, "chunks": [[[source, name, target], ...], ...]}`. Each chunk is
compiled by a process of its own, because what was compiled before leaves traces in the marshalled
code (which strings are interned decides which are written as references).
"""

import gc
import importlib.util
import json
import marshal
import os
import sys


def compile_file(source, name, target):
    with open(source, "rb") as file:
        data = file.read()
    try:
        code = compile(data, name, "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        # Templates and files for other Pythons: importing them fails just the same.
        return
    # PEP 552: a hash of the source that is not checked when importing.
    header = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        os.makedirs(folder, exist_ok=True)
    with open(target, "wb") as file:
        file.write(header + importlib.util.source_hash(data) + marshal.dumps(code))


def in_child(work, *arguments):
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            sys.setrecursionlimit(10_000)
            # A chunk's memory is given back by its end.
            gc.disable()
            work(*arguments)
            status = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    return pid


def compile_chunk(chunk):
    for source, name, target in chunk:
        compile_file(source, name, target)


def compile_share(chunks):
    for chunk in chunks:
        _, status = os.waitpid(in_child(compile_chunk, chunk), 0)
        if status:
            raise SystemExit(f"a process that compiled {chunk[0][1]} stopped with status {status}")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        work = json.load(file)
    chunks, workers = work["chunks"], work["workers"]
    pids = [in_child(compile_share, chunks[number::workers]) for number in range(workers)]
    if any([os.waitpid(pid, 0)[1] for pid in pids]):
        sys.exit(1)


main()
