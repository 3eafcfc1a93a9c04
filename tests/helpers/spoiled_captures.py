"""Small sound captures of every format, and the ways in which chance spoils them."""

from __future__ import annotations

import json
import os
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from colmap_models import write_colmap
from PIL import Image
from small_captures import HEIGHT, WIDTH, bomb, change, change_frames, ring, write_llff, write_photo, write_transforms

_TEXT = frozenset({".json", ".txt", ".xml", ".csv", ".xmp", ".ply"})
_PHOTOS = frozenset({".png", ".jpg"})
_WORDS = ("nan", "inf", "-inf", "1e999", "-1", "0", "1e308", "99999999999999999999", "-0.0", "1e-320", "x", "")
_VALUES = (
    *(None, True, [], {}, "", "..", "../outside/secret.png", "/etc/hostname", "a\0b", "x" * 5000),
    *(float("nan"), float("inf"), -1, 0, 1e308, 10**400, -(2**63), [[1, 2], [3]], [[float("nan")] * 4] * 4, [[[]]]),
    *("EQUIRECTANGULAR", "OPENCV_FISHEYE", "images", "C:\\a.png", "images/../../outside/secret.png"),
)
_NUMBERS_8 = (
    *(b"\xff" * 8, b"\0" * 8, struct.pack("<d", float("nan")), struct.pack("<d", 1e308)),
    *(struct.pack("<Q", count) for count in (1, 10**6, 2**31, 2**40, 2**62, 2**63)),
)


def write_bases(folder: Path) -> list[Path]:
    """A sound capture of every format; their folders."""
    write_transforms(folder / "transforms", 5)
    rich = write_transforms(folder / "nerfstudio", 5)
    for i in range(5):
        write_photo(rich / f"masks/{i}.png", mode="L")
    points = np.zeros(6, [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")])
    properties = "".join(f"property {'float' if n in 'xyz' else 'uchar'} {n}\n" for n in points.dtype.names)
    head = f"ply\nformat binary_little_endian 1.0\nelement vertex 6\n{properties}end_header\n"
    (rich / "points.ply").write_bytes(head.encode() + points.tobytes())
    change(rich, lambda data: data.update(ply_file_path="points.ply", camera_model="OPENCV", k1=0.1, p1=0.01))
    change_frames(rich, lambda frame: frame.update(mask_path=frame["file_path"].replace("images", "masks")))
    synthetic = write_transforms(folder / "nerf_synthetic", 4, camera_angle_x=0.7)
    (synthetic / "transforms.json").rename(synthetic / "transforms_train.json")
    write_llff(folder / "llff", 5)
    cut = write_llff(folder / "llff14", 5)
    table = np.load(cut / "poses_bounds.npy")
    matrices = table[:, :15].reshape(-1, 3, 5)[:, :, :4].reshape(-1, 12)
    np.save(cut / "poses_bounds.npy", np.concatenate([matrices, table[:, 15:]], axis=1))
    np.save(cut / "hwf_cxcy.npy", np.array([8 * HEIGHT, 8 * WIDTH, 160.0, 64.0, 48.0]))
    write_colmap(folder / "colmap-bin", 5)
    write_colmap(folder / "colmap-txt", 5, "txt")
    write_colmap(folder / "colmap-fov", 5, "txt", lens=("FOV", (20, 20, 8, 6, 0.7)))
    both = write_llff(folder / "mip360", 5, "images", 1)
    write_colmap(both, 5)
    for i in range(5):
        (both / "images" / f"IMG_{i:02d}.png").unlink()
    replica = folder / "replica"
    for i in range(4):
        write_photo(replica / f"rgb/rgb_{i}.png")
    lines = [" ".join(map(repr, map(float, (p @ np.diag([1.0, -1, -1, 1])).ravel()))) for p in ring(4)]
    (replica / "traj_w_c.txt").write_text("\n".join(lines))
    reality = folder / "reality"
    rows = [f"{i}.png,{i},0,1,{10 * i},80,0,30,0,0,-0.1,0.01,0,0,0.001,0" for i in range(4)]
    for i in range(4):
        write_photo(reality / f"images/{i}.png")
    header = "#name,x,y,alt,heading,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2"
    (reality / "cameras.csv").write_text("\n".join([header, *rows]) + "\n")
    _write_sidecars(folder / "sidecars")
    _write_metashape(folder / "metashape")
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _write_sidecars(folder: Path) -> None:
    for i, pose in enumerate(ring(4)):
        write_photo(folder / f"{i}.png")
        rotation = " ".join(map(repr, map(float, (np.diag([1.0, -1, -1]) @ pose[:3, :3].T).ravel())))
        (folder / f"{i}.xmp").write_text(
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description xcr:Version="3" xcr:ComponentId="{A}"\n'
            'xcr:DistortionModel="brown3t2" xcr:FocalLength35mm="30" xcr:Skew="0" xcr:AspectRatio="1"\n'
            'xmlns:xcr="http://www.capturingreality.com/ns/xcr/1.1#">\n'
            f"<xcr:Rotation>{rotation}</xcr:Rotation>\n"
            f"<xcr:Position>{' '.join(map(str, pose[:3, 3]))}</xcr:Position>\n"
            "<xcr:DistortionCoeficients>-0.1 0.01 0 0 0.001 0</xcr:DistortionCoeficients>\n"
            "</rdf:Description></rdf:RDF></x:xmpmeta>\n"
        )


def _write_metashape(folder: Path) -> None:
    cameras = []
    for i, pose in enumerate(ring(4)):
        write_photo(folder / f"images/{i}.png")
        numbers = " ".join(map(repr, map(float, (pose @ np.diag([1.0, -1, -1, 1])).ravel())))
        cameras.append(f'<camera id="{i}" sensor_id="0" label="{i}"><transform>{numbers}</transform></camera>')
        write_photo(folder / f"images/{i}b.png")
        cameras.append(f'<camera id="{i + 9}" sensor_id="1" master_id="{i}" label="{i}b"/>')
    lens = "<f>20</f><cx>0.1</cx><cy>0</cy><k1>0.01</k1><p1>0.001</p1>"
    turn = "<rotation>0 -1 0 1 0 0 0 0 1</rotation><location>0.1 0 0</location>"
    (folder / "cameras.xml").write_text(
        f'<document version="2.0.0"><chunk><sensors><sensor id="0" type="frame"><resolution width="{WIDTH}" '
        f'height="{HEIGHT}"/><calibration type="frame">{lens}</calibration></sensor>'
        f'<sensor id="1" type="frame" master_id="0"><resolution width="{WIDTH}" height="{HEIGHT}"/>'
        f'<calibration type="frame">{lens}</calibration>{turn}</sensor></sensors><cameras>'
        f"{''.join(cameras)}</cameras><transform><scale>2</scale></transform></chunk></document>"
    )


def spoil(folder: Path, outside: Path, chance: random.Random) -> str:
    """One to three random changes of the capture in ``folder``; what they were."""
    done = []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        if not files:
            break
        cameras = [path for path in files if path.suffix not in _PHOTOS]
        path = chance.choice(cameras) if cameras and chance.random() < 0.8 else chance.choice(files)
        ways: list[Callable[[Path, Path, random.Random], None]] = [_flip, _truncate, _insert, _overwrite, _replace_file]
        ways += [_words, _words, _words] if path.suffix in _TEXT else [_overwrite, _overwrite]
        ways += [_edit_json] * 8 if path.suffix == ".json" else []
        ways += [_rename_inside] * 2
        ways += [_odd_photo] * 4 if path.suffix in _PHOTOS else []
        way = chance.choice(ways)
        way(path, outside, chance)
        done.append(f"{way.__name__.strip('_')} {path.relative_to(folder)}")
    return ", ".join(done)


def _flip(path: Path, outside: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(chance.randint(1, 8) if data else 0):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _truncate(path: Path, outside: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: chance.randrange(path.stat().st_size + 1)])


def _insert(path: Path, outside: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    at, length = chance.randrange(len(data) + 1), chance.choice((1, 8, 300, 100_000))
    new = chance.choice((chance.randbytes(length), data[:length], b"9" * length, b"[" * length, b"\n" * length))
    path.write_bytes(data[:at] + new + data[at:])


def _overwrite(path: Path, outside: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    at = chance.choice((0, chance.randrange(len(data) + 1)))
    path.write_bytes(data[:at] + chance.choice(_NUMBERS_8) + data[at + 8 :])


def _words(path: Path, outside: Path, chance: random.Random) -> None:
    text = path.read_bytes()
    places = [found.span() for found in re.finditer(rb"[-+]?[0-9][0-9.eE+-]*|[A-Za-z_/.]{3,}", text)]
    for start, end in sorted(chance.sample(places, min(len(places), chance.choice((1, 1, 2, 30)))), reverse=True):
        word = chance.choice((*_WORDS, *_WORDS, "../outside/secret.png", "/etc/hostname", "EUCM", "&a;", "-7"))
        text = text[:start] + word.encode() + text[end:]
    path.write_bytes(text)


def _edit_json(path: Path, outside: Path, chance: random.Random) -> None:
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return _flip(path, outside, chance)
    places: list[tuple[dict | list, object]] = []

    def walk(value: object) -> None:
        if isinstance(value, dict | list):
            for key in value if isinstance(value, dict) else range(len(value)):
                places.append((value, key))
                walk(value[key])  # type: ignore[index]

    walk(data)
    for holder, key in chance.sample(places, min(len(places), chance.choice((1, 1, 2, 5)))):
        try:
            if chance.random() < 0.25:
                del holder[key]  # type: ignore[arg-type]
            else:
                holder[key] = chance.choice(_VALUES)  # type: ignore[index,call-overload]
        except (KeyError, IndexError):
            continue  # an earlier change of this round has removed it
    path.write_text(json.dumps(data), encoding="utf-8")


def _replace_file(path: Path, outside: Path, chance: random.Random) -> None:
    others = [each for each in path.parent.iterdir() if each.is_file() and each != path]
    way = chance.randrange(8)
    content = path.read_bytes()
    path.unlink()
    if way == 0:
        path.symlink_to(outside / "secret.png")
    elif way == 1:
        (outside / path.name).write_bytes(content)
        path.symlink_to(outside / path.name)
    elif way == 2:
        path.symlink_to(path)
    elif way == 3:
        path.mkdir()
    elif way == 4:
        os.mkfifo(path)
    elif way == 5 and others:
        path.write_bytes(chance.choice(others).read_bytes())
    elif way == 6:
        path.write_bytes(b"")


def _rename_inside(path: Path, outside: Path, chance: random.Random) -> None:
    """Another path in place of the name of a photo that the file holds: of the same length, so that counts hold."""
    data = path.read_bytes()
    names = re.findall(rb"[\w/]*\w\.png|IMG_\d+", data)
    if not names:
        return _flip(path, outside, chance)
    name = chance.choice(names)
    way = chance.choice((b"../../../../../../etc/hostname", b"/etc/hostname", b"../outside/secret.png", b"\\..\\", b""))
    path.write_bytes(data.replace(name, (way + b"\0" * len(name))[: len(name)] if chance.random() < 0.5 else way))


def _odd_photo(path: Path, outside: Path, chance: random.Random) -> None:
    way = chance.randrange(6)
    if way == 0:
        bomb(path)
    elif way == 1:
        size = chance.choice(((WIDTH, HEIGHT), (HEIGHT, WIDTH), (1, 1), (WIDTH // 2, HEIGHT // 2)))
        Image.new("CMYK", size).save(path, "JPEG")
    elif way == 2:
        Image.fromarray(np.full((HEIGHT, WIDTH), 60_000, np.uint16)).save(path, "PNG")
    elif way == 3:
        Image.new("RGBA", (WIDTH, HEIGHT)).save(path, "PNG")
    elif way == 4:
        Image.new("F", (WIDTH, HEIGHT)).save(path, "TIFF")
    else:
        Image.new("1", (WIDTH, HEIGHT)).save(path, "PNG")
