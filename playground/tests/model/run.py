"""A model with every kind of input, which answers with whatever is asked for."""

import base64
import struct
import tempfile
import wave
import zlib
from typing import Any

from cog import BaseRunner, Input, Path, Secret, current_scope


class Runner(BaseRunner):
    def setup(self) -> None:
        print("\x1b[32mready to play\x1b[0m")

    def run(
        self,
        what: str = Input(
            description="What to answer with",
            choices=["text", "inputs", "picture", "sound", "echo", "files", "nested", "number", "nothing", "failure"],
        ),
        text: str = Input(description="Some text", default="hello", max_length=200),
        code: str = Input(description="Two capital letters", default="AB", regex="^(?P<both>[A-Z]{2})$"),
        count: int = Input(description="How many", default=3, ge=1, le=10),
        ratio: float = Input(description="How much", default=0.5),
        loud: bool = Input(description="Whether to shout", default=False),
        image: Path | None = Input(description="A picture", accept="image/*", default=None),
        anything: Path | None = Input(description="Any file", default=None),
        pictures: list[Path] | None = Input(description="Several files", default=None),
        token: Secret | None = Input(description="Kept to itself", default=None),
        options: dict = Input(description="Anything else", default={"deep": True}),
        tags: list[str] = Input(description="Words", default=["a", "b"]),
        either: str | float = Input(description="Text or a number", default=1.5),
        old: int = Input(description="Not used any more", default=0, deprecated=True),
    ) -> Any:
        print(f"asked for \x1b[1m{what}\x1b[0m")
        current_scope().record_metric("asked", 1)
        if what == "text":
            return text.upper() if loud else text
        if what == "inputs":
            return {
                "count": count,
                "ratio": ratio,
                "loud": loud,
                "code": code,
                "options": options,
                "tags": tags,
                "either": either,
                "secret": len(token.get_secret_value()) if token else None,
            }
        if what == "picture":
            return self.picture()
        if what == "sound":
            return self.sound()
        if what == "echo":
            return image or anything
        if what == "files":
            return pictures
        if what == "nested":
            data = base64.b64encode(self.picture().read_bytes()).decode()
            return {"score": 0.5, "mask": f"data:image/png;base64,{data}"}
        if what == "number":
            return count * ratio
        if what == "failure":
            raise ValueError("this model fails when it is asked to")
        return None

    def picture(self) -> Path:
        """A PNG of colours, without a library for it."""
        size = 96
        rows = b"".join(
            b"\0" + b"".join(bytes((x * 255 // size, y * 255 // size, 160)) for x in range(size)) for y in range(size)
        )

        def chunk(kind: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

        header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
        path = Path(tempfile.mkdtemp()) / "colours.png"
        parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
        return path

    def sound(self) -> Path:
        path = Path(tempfile.mkdtemp()) / "tone.wav"
        with wave.open(str(path), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(8000)
            out.writeframes(b"".join(struct.pack("<h", (n % 40 - 20) * 500) for n in range(4000)))
        return path
