"""The least that a worker can do: read a frame, call the model, write a frame."""

import json
import socket
import struct

LENGTH = struct.Struct("<I")


def run(text: str) -> str:
    return "hello " + text


def main() -> None:
    channel = socket.socket(fileno=0)
    pending = b""
    while True:
        while len(pending) < LENGTH.size or len(pending) < LENGTH.size + LENGTH.unpack_from(pending)[0]:
            piece = channel.recv(1 << 16)
            if not piece:
                return
            pending += piece
        end = LENGTH.size + LENGTH.unpack_from(pending)[0]
        body = json.dumps(run(**json.loads(pending[LENGTH.size : end]))).encode()
        pending = pending[end:]
        channel.sendall(LENGTH.pack(len(body)) + body)


main()
