"""Frames nobody would send: random and mutated streams for a server, and what has to be true of its answers."""

from __future__ import annotations

import json
import random
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from engine.server import LOST, Server
from engine.server_lanes import Answer, Kind
from sa3d_blender.protocol.errors import PromptError
from sa3d_blender.protocol.framing import CLIENT_READS, ENGINE_READS, FRAME_VERSION, MAGIC, FrameReader, RawArray
from sa3d_blender.protocol.messages import (
    FROM_ENGINE,
    Cancel,
    Failure,
    Hello,
    Ping,
    Request,
    decode,
    encode,
)

LONGEST_SECONDS = 10.0  # for one stream, whatever is in it


def _echo(request: Request, job: object) -> Answer:
    arrays = {name: np.frombuffer(each.data, each.dtype).reshape(each.shape) for name, each in request.arrays.items()}
    return Answer(request.body, arrays)


def _slow(request: Request, job) -> Answer:
    with job.stage("Being slow", 50) as stage:
        for _ in range(50):
            time.sleep(0.0002)
            stage.advance()
    return Answer()


def _refuse(request: Request, job: object) -> Answer:
    raise PromptError(f"There is no view {request.body.get('view')}.", f"Choose {request.body.get('other')}.")


KINDS = {"echo": Kind(_echo), "slow": Kind(_slow, long=True), "refuse": Kind(_refuse)}


@dataclass
class Tally:
    """What came of many streams."""

    frames: int = 0
    streams: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0


class Fuzzer:
    """Makes streams from a seed and sends each to a server of its own."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.tally = Tally()

    def run(self, frames: int) -> Tally:
        """Sends at least so many frames."""
        while self.tally.frames < frames:
            count = self.random.randint(1, 30)
            pieces = []
            for _ in range(count):
                make = self.random.choices([self._valid, self._odd, self._mutated], [6, 10, 8])[0]
                pieces.append(make())
            ending = self.random.random()
            if ending < 0.4:  # always last, so that every frame before it is read
                pieces[-1] = self._fatal()
            elif ending < 0.6:  # the other side goes away in mid-frame
                pieces[-1] = pieces[-1][: self.random.randint(0, len(pieces[-1]))]
            self.tally.frames += count
            self.send(b"".join(pieces))
        return self.tally

    def send(self, stream: bytes) -> None:
        """Gives a stream to a server and checks all that it says."""
        said, at, chunk = bytearray(), 0, self.random.choice([1 << 20, 4096, 7])

        def read(count: int) -> bytes:
            nonlocal at
            part = stream[at : at + min(count, chunk)]
            at += len(part)
            return part

        def write(data) -> int:
            said.extend(data)
            return len(data)

        broken = threading.Event()
        started = time.perf_counter()
        code = Server(read, write, KINDS, broken.set).run()
        seconds = time.perf_counter() - started
        self.tally.slowest_s = max(self.tally.slowest_s, seconds)
        assert seconds < LONGEST_SECONDS, f"{seconds:.1f} s for {stream[:200]!r}"
        assert not broken.is_set(), stream
        self._check(bytes(said), code)

    def _check(self, said: bytes, code: int) -> None:
        from io import BytesIO

        frames = FrameReader(BytesIO(said).read, CLIENT_READS)
        messages = []
        while (frame := frames.next()) is not None:  # whatever came in, what goes out are whole frames
            messages.append(decode(frame, FROM_ENGINE))
        assert isinstance(messages[0], Hello)
        assert code in (0, LOST)
        if code == LOST:
            assert any(isinstance(m, Failure) and m.code == "protocol" for m in messages)
        for message in messages:
            assert not isinstance(message, Failure) or (message.what and message.code)
            assert not isinstance(message, Failure) or message.code != "internal", message
            self.tally.answers[type(message).__name__] += 1
        self.tally.streams += 1
        self.tally.endings["lost" if code == LOST else "end of input"] += 1

    def _valid(self) -> bytes:
        pick = self.random.randrange(6)
        id = self.random.randrange(1, 1000)
        if pick == 0:
            return _bytes(Hello("0.1.0"))
        if pick == 1:
            return _bytes(Ping(id))
        if pick == 2:
            return _bytes(Cancel(id))
        if pick == 3:
            return _bytes(Request(id, "slow"))
        arrays = {}
        for i in range(self.random.randrange(3)):
            shape = [self.random.randrange(5) for _ in range(self.random.randrange(4))]
            dtype = self.random.choice(["uint8", "float32", "int64", "bool", "float16"])
            arrays[f"a{i}"] = RawArray.of(np.zeros(shape, dtype))
        body = {"view": self._json(2), "other": self._json(3)}
        return _bytes(Request(id, self.random.choice(["echo", "refuse", "nonsense"]), body, arrays))

    def _odd(self) -> bytes:
        """A whole frame whose header is anything but what it should be."""
        r = self.random
        payload = r.randbytes(r.choice([0, 0, 4, 100]))
        header: object = {
            "type": r.choice(["request", "ping", "cancel", "hello", "result", "progress", self._json(1)]),
            "id": r.choice([1, 0, -1, True, 2**53, 2**70, 1.5, "1", None, self._json(1)]),
            "kind": r.choice(["echo", "slow", "", "x" * 100, self._json(1)]),
            "body": r.choice([{}, [], None, self._json(4)]),
            "arrays": r.choice([[], [self._array(len(payload)) for _ in range(r.randrange(4))], self._json(2)]),
        }
        assert isinstance(header, dict)
        for key in r.sample(sorted(header), r.randrange(3)):
            del header[key]
        text = json.dumps(r.choice([header, header, header, self._json(3)]))
        head = r.choice(
            [
                text.encode(),
                text.encode(),
                text.encode("utf-16"),
                text.encode()[:-1],
                b"[" * r.choice([10, 1000, 100_000]),
                b'{"a":' * 1000 + b"1" + b"}" * 1000,
                b'{"id":' + b"9" * 5000 + b"}",
                b'{"type":"ping","id":NaN}',
                b'{"type":"request","id":1,"kind":"echo","body":{"a":1e999,"b":-0.0,"c":"\\ud800"}}',
                b'{"type":"ping","id":1,"id":2,"arrays":[]}',
                r.randbytes(r.randrange(300)),
            ]
        )
        return _prefix(len(head), len(payload)) + head + payload

    def _array(self, payload: int) -> object:
        r = self.random
        return {
            "name": r.choice(["a", "a", "b", "", "x" * 65, 1, None]),
            "dtype": r.choice(["uint8", "uint8", "float32", "object", "|V4", "O", "", None, 3]),
            "shape": r.choice([[payload], [payload], [1] * 9, [-1], [2**62, 4], [0, 2**39], [1.0], "4", None, [[4]]]),
        }

    def _mutated(self) -> bytes:
        """A good frame with some of its bytes changed, but for the first 24, on which the whole stream depends."""
        data = bytearray(self._valid())
        for _ in range(self.random.randint(1, 8)):
            data[self.random.randrange(24, len(data))] = self.random.randrange(256)
        return bytes(data)

    def _fatal(self) -> bytes:
        """What ends a stream: no frame, a frame of another version, or of impossible lengths."""
        r = self.random
        good = self._valid()
        at = r.randrange(24)
        return r.choice(
            [
                r.randbytes(r.randrange(1, 4096)),
                b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
                good[:at] + r.randbytes(1) + good[at + 1 :],
                _prefix(10, 0, version=r.choice([0, 2, 65535])) + b"0123456789",
                _prefix(r.choice([ENGINE_READS.header + 1, 2**31, 2**32 - 1]), 0) + b"x" * 100,
                _prefix(2, r.choice([ENGINE_READS.payload + 1, 2 << 30, 2**63, 2**64 - 1])) + b"{}" + b"x" * 100,
                _prefix(ENGINE_READS.header, ENGINE_READS.payload) + b"x" * 5000,
                _prefix(2, ENGINE_READS.payload) + b"{}" + b"x" * 5000,
            ]
        )

    def _json(self, depth: int) -> object:
        r = self.random
        pick = r.randrange(9 if depth > 0 else 7)
        if pick == 7:
            return [self._json(depth - 1) for _ in range(r.randrange(4))]
        if pick == 8:
            return {self._text(): self._json(depth - 1) for _ in range(r.randrange(4))}
        number = r.random() * 10 ** r.randint(-300, 300)
        return (None, True, r.randint(-(2**64), 2**64), number, 0, "", self._text())[pick]

    def _text(self) -> str:
        return "".join(chr(self.random.choice([0, 10, 34, 92, 97, 228, 0xD800, 0xDFFF, 0x1F600])) for _ in range(4))


def _prefix(header: int, payload: int, version: int = FRAME_VERSION) -> bytes:
    return MAGIC + struct.pack("!HHIQ", version, 0, header, payload)


def _bytes(message) -> bytes:
    return b"".join(encode(message, ENGINE_READS))


__all__ = ["Fuzzer", "Tally"]
