"""The photos of ``visavis.samples``: people who do not exist, drawn from a few numbers: ``python tools/drawings.py``.

A head is an egg with bumps, painted, lit and turned. The numbers were found by chance: such that the default pack tells
the four apart. Lengths are in half heights of the head; y points down.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visavis import samples

Plane: TypeAlias = NDArray[np.float64]
RGB: TypeAlias = tuple[float, float, float]
FINE = 560  # points of the head's grid each way
REACH = 1.6  # of the grid, and of the picture, from the middle
PHOTO, GROUP = 320, 300  # pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What somebody looks like."""

    width: float
    jaw: float
    chin: float
    cheek: float
    skin: RGB
    hair: RGB
    hairline: float
    long: float  # how far down the hair reaches; 0 for short hair
    shirt: RGB
    eye_dx: float
    eye_y: float
    eye_w: float
    eye_h: float
    iris: RGB
    brow_y: float
    brow_h: float
    brow_w: float
    brow_dark: float
    nose_w: float
    nose_len: float
    nose_h: float
    mouth_y: float
    mouth_w: float
    lips: float
    lip_col: RGB
    beard: float
    age: float


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a photo is taken: angles in radians."""

    yaw: float = 0.0
    pitch: float = 0.0
    light: RGB = (0.35, -0.45, 0.8)
    backdrop: RGB = (150, 160, 170)
    seed: int = 1  # of hair, skin and noise


VIEWS = (
    View(),
    View(yaw=0.16, light=(-0.5, -0.35, 0.75), backdrop=(190, 180, 160), seed=11),
    View(yaw=-0.14, pitch=0.06, light=(0.5, -0.2, 0.7), backdrop=(120, 140, 120), seed=21),
)
IN_GROUP: Mapping[str, tuple[float, float]] = {
    "anna": (0.08, 0.0),
    "ben": (-0.06, 0.04),
    "emil": (0.05, -0.04),
    "clara": (-0.1, 0.0),
}
PERSONS: Mapping[str, Person] = {
    "anna": Person(
        width=0.6,
        jaw=0.2845,
        chin=0.18,
        cheek=0.1311,
        skin=(181, 125, 83),
        hair=(25, 18, 15),
        hairline=-0.9,
        long=0.8355,
        shirt=(110, 80, 120),
        eye_dx=0.36,
        eye_y=0.0,
        eye_w=0.1024,
        eye_h=0.0413,
        iris=(80, 110, 70),
        brow_y=-0.3072,
        brow_h=0.014,
        brow_w=0.2098,
        brow_dark=0.5064,
        nose_w=0.08,
        nose_len=0.4403,
        nose_h=0.2074,
        mouth_y=0.4559,
        mouth_w=0.3029,
        lips=0.0612,
        lip_col=(140, 65, 70),
        beard=0.0,
        age=0.1594,
    ),
    "ben": Person(
        width=0.7816,
        jaw=0.0,
        chin=0.0776,
        cheek=0.0778,
        skin=(129, 97, 78),
        hair=(25, 18, 15),
        hairline=-0.7926,
        long=0.0,
        shirt=(120, 50, 45),
        eye_dx=0.2939,
        eye_y=-0.0273,
        eye_w=0.0957,
        eye_h=0.0607,
        iris=(70, 110, 150),
        brow_y=-0.3155,
        brow_h=0.055,
        brow_w=0.18,
        brow_dark=0.8469,
        nose_w=0.0909,
        nose_len=0.3855,
        nose_h=0.3678,
        mouth_y=0.5055,
        mouth_w=0.2338,
        lips=0.0586,
        lip_col=(150, 95, 85),
        beard=0.868,
        age=0.0,
    ),
    "clara": Person(
        width=0.6,
        jaw=0.1575,
        chin=0.18,
        cheek=0.0332,
        skin=(212, 167, 140),
        hair=(70, 45, 30),
        hairline=-0.7674,
        long=0.7716,
        shirt=(60, 70, 120),
        eye_dx=0.2467,
        eye_y=-0.18,
        eye_w=0.155,
        eye_h=0.0495,
        iris=(41, 38, 20),
        brow_y=-0.2361,
        brow_h=0.0186,
        brow_w=0.1906,
        brow_dark=0.571,
        nose_w=0.1656,
        nose_len=0.28,
        nose_h=0.3186,
        mouth_y=0.544,
        mouth_w=0.31,
        lips=0.0898,
        lip_col=(170, 85, 80),
        beard=0.0,
        age=0.4797,
    ),
    "emil": Person(
        width=0.7501,
        jaw=0.1575,
        chin=0.18,
        cheek=0.0021,
        skin=(182, 142, 118),
        hair=(150, 110, 60),
        hairline=-0.8183,
        long=0.0,
        shirt=(60, 90, 70),
        eye_dx=0.3263,
        eye_y=0.0,
        eye_w=0.155,
        eye_h=0.075,
        iris=(46, 78, 126),
        brow_y=-0.38,
        brow_h=0.0537,
        brow_w=0.13,
        brow_dark=0.409,
        nose_w=0.155,
        nose_len=0.28,
        nose_h=0.1987,
        mouth_y=0.63,
        mouth_w=0.16,
        lips=0.0762,
        lip_col=(150, 95, 85),
        beard=0.0,
        age=1.2334,
    ),
}


def blob(x: Plane, y: Plane, at: tuple[float, float], half: tuple[float, float], power: float = 2.0) -> Plane:
    """Return a smooth spot, 1 in its middle."""
    return np.exp(-(np.abs((x - at[0]) / half[0]) ** power + np.abs((y - at[1]) / half[1]) ** power))


def step(away: Plane, soft: float) -> Plane:
    """Return 0 far below 0 and 1 far above."""
    return 0.5 + 0.5 * np.tanh(away / (2 * soft))


def grid(points: int) -> tuple[Plane, Plane]:
    """Return x and y of a square grid."""
    y, x = np.mgrid[-REACH : REACH : points * 1j, -REACH : REACH : points * 1j]
    return x, y


class Canvas:
    """A picture of colours that masks are painted on."""

    def __init__(self, points: int, colour: RGB) -> None:
        """Begin with one colour."""
        self.pixels: Plane = np.empty((points, points, 3))
        self.pixels[:] = colour

    def paint(self, mask: Plane, colour: Plane | RGB) -> None:
        """Put a colour, or one for each pixel, where the mask is 1."""
        alpha = np.clip(mask, 0, 1)[..., None]
        self.pixels = self.pixels * (1 - alpha) + np.asarray(colour) * alpha


def heights(of: Person, x: Plane, y: Plane) -> tuple[Plane, NDArray[np.bool_]]:
    """Return how far the face stands out, and where the head is."""
    ax, nose_y = np.abs(x), of.eye_y + of.nose_len
    width = np.maximum(of.width * (1 - of.jaw * np.clip(y, 0, 1.2) ** 2), 0.2)
    away = (x / width) ** 2 + y**2
    z = 0.75 * np.sqrt(np.clip(1 - away, 0, None))
    z += 0.06 * blob(ax, y, (of.eye_dx, of.eye_y), (0.13, 0.10)) - 0.10 * blob(
        ax, y, (of.eye_dx, of.eye_y), (0.2, 0.14)
    )
    z += 0.07 * blob(ax, y, (0.22, of.brow_y + 0.02), (0.25, 0.08))
    along = np.clip((y - of.eye_y + 0.05) / (of.nose_len + 0.05), 0, 1)
    ridge = np.exp(-((x / (of.nose_w * (0.55 + 0.6 * along))) ** 2))
    z += of.nose_h * along * ridge / (1 + np.exp((y - nose_y - 0.03) / 0.022))
    z += 0.07 * blob(ax, y, (of.nose_w * 1.05, nose_y - 0.01), (0.055, 0.05))
    for share, down, half in (
        (0.08, 0.0, (of.mouth_w * 1.1, 0.16)),
        (0.05, -0.55 * of.lips, (of.mouth_w * 0.75, of.lips * 0.6)),
        (0.06, 0.6 * of.lips, (of.mouth_w * 0.65, of.lips * 0.7)),
        (-0.04, 0.0, (of.mouth_w * 0.8, 0.014)),
    ):
        z += share * blob(x, y, (0, of.mouth_y + down), half)
    z += of.chin * blob(x, y, (0, 0.82), (0.18, 0.14)) + of.cheek * blob(ax, y, (0.42, 0.18), (0.2, 0.2))
    z -= of.age * 0.03 * blob(ax - 0.35 * (y - 0.3), y, (0.27, 0.38), (0.02, 0.16))
    return z, away < 1


def colours(of: Person, x: Plane, y: Plane) -> Canvas:
    """Return the painted face, without its hair."""
    ax, face, skin = np.abs(x), Canvas(len(x), of.skin), np.array(of.skin)
    face.paint(0.25 * blob(ax, y, (0.42, 0.2), (0.2, 0.18)), (210, 110, 100))
    face.paint(0.35 * blob(ax, y, (of.eye_dx, of.eye_y), (0.2, 0.11)), skin * 0.6)
    if of.beard:
        below = 1 / (1 + np.exp(-(y - 0.42 + 0.25 * blob(x, y, (0, 0.4), (0.3, 0.3))) / 0.03))
        face.paint(of.beard * below * (1 - blob(x, y, (0, of.mouth_y), (of.mouth_w, 0.06), 4)), of.hair)
    paint_mouth(of, face, x, y)
    paint_eyes(of, face, x, y)
    across = (ax - of.eye_dx + 0.01) / of.brow_w
    middle = of.brow_y + 0.05 * across**2 - 0.02 * across
    thick = of.brow_h * (1 - 0.35 * np.clip(across, -1, 1))
    inside = np.clip(1.2 - np.abs(across) ** 6, 0, 1) * (np.abs(across) < 1.1)  # noqa: PLR2004  # a length
    face.paint(of.brow_dark * np.exp(-(((y - middle) / thick) ** 2)) * inside, of.hair)
    return face


def paint_mouth(of: Person, face: Canvas, x: Plane, y: Plane) -> None:
    """Paint lips, and the nostrils above them."""
    up = np.sqrt(np.clip(1 - (x / of.mouth_w) ** 2, 0, None))
    bow = 1 - 0.35 * blob(x, y, (0, of.mouth_y), (0.05, 9))
    inside, down = np.abs(x) < of.mouth_w, y - of.mouth_y
    face.paint(step(up * of.lips * 0.8 * bow + down, 0.012) * step(-down, 0.012) * inside, of.lip_col)
    face.paint(step(up * of.lips * 1.1 - down, 0.012) * step(down, 0.012) * inside, np.array(of.lip_col) * 1.08)
    line = down - 0.01 * np.cos(x / of.mouth_w * 3)
    face.paint(0.85 * np.exp(-((line / 0.010) ** 2)) * np.clip(up * 1.5, 0, 1), (60, 25, 25))
    nostril = (of.nose_w * 0.55, of.eye_y + of.nose_len + 0.03)
    face.paint(0.75 * blob(np.abs(x), y, nostril, (0.035, 0.018)), (60, 30, 25))


def paint_eyes(of: Person, face: Canvas, x: Plane, y: Plane) -> None:
    """Paint eyes with their lids."""
    ax = np.abs(x)
    across = (ax - of.eye_dx) / of.eye_w
    lid = np.clip(1 - across**2, 0, None)
    top, bottom, inside = of.eye_y - of.eye_h * lid**0.7, of.eye_y + of.eye_h * 0.75 * lid, np.abs(across) < 1
    eye = step(y - top, 0.006) * step(bottom - y, 0.006) * inside
    face.paint(eye, (225, 220, 215))
    from_middle, iris = np.hypot(ax - of.eye_dx, y - of.eye_y + 0.004), of.eye_h * 0.98
    face.paint(eye * step(iris - from_middle, 0.006), of.iris)
    face.paint(eye * step(iris * 0.45 - from_middle, 0.006), (12, 10, 10))
    glint = np.hypot(x - np.sign(x) * of.eye_dx + 0.018, y - of.eye_y + 0.022)
    face.paint(eye * np.exp(-((glint / 0.012) ** 2)), (255, 255, 255))
    face.paint(0.9 * np.exp(-(((y - top) / 0.016) ** 2)) * (np.abs(across) < 1.05), (35, 22, 18))  # noqa: PLR2004  # a length
    face.paint(0.35 * np.exp(-(((y - bottom) / 0.01) ** 2)) * inside, (90, 50, 45))
    face.paint(0.45 * np.exp(-(((y - top + 0.045) / 0.012) ** 2)) * inside, np.array(of.skin) * 0.55)


def noise(random: np.random.Generator, across: float, down: float) -> Plane:
    """Return smooth noise of deviation 1."""
    plane = cv2.GaussianBlur(random.normal(0, 1, (FINE, FINE)), (0, 0), across, sigmaY=down)
    return np.asarray(plane / plane.std())


def lit_head(of: Person, view: View, random: np.random.Generator) -> tuple[Plane, Plane, NDArray[np.bool_], Plane]:
    """Return the colours of the head as the light falls, its heights, where it is, and strands of hair."""
    x, y = grid(FINE)
    z, head = heights(of, x, y)
    face, strands = colours(of, x, y), noise(random, 1.2, 9)
    hairy = step(of.hairline + 0.22 * (x / 0.7) ** 2 * (1 if of.long else 1.6) - y, 0.012)
    face.paint(hairy, np.array(of.hair) * (1 + 0.18 * strands[..., None]))
    z += 0.10 * hairy * head
    down, right = np.gradient(cv2.GaussianBlur(z, (0, 0), 3), 2 * REACH / FINE)
    normals = np.dstack([-right, -down, np.ones_like(z)])
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    light = np.array(view.light) / np.linalg.norm(view.light)
    half = light + np.array([0, 0, 1])
    shine = np.clip(normals @ (half / np.linalg.norm(half)), 0, 1) ** 18 * (1 - hairy)
    shade = 0.42 + 0.1 * normals[..., 2] + 0.62 * np.clip(normals @ light, 0, 1)
    skin = 1 + 0.018 * noise(random, 2.2, 2.2)
    return face.pixels * (shade * skin)[..., None] + 255 * 0.12 * shine[..., None], z, head, strands


def behind(of: Person, view: View, strands: Plane, size: int) -> Canvas:
    """Return what is behind the face: the backdrop, shoulders, neck, ears and hair."""
    x, y = grid(size)
    ax, back = np.abs(x), Canvas(size, view.backdrop)
    back.pixels *= (1 - 0.15 * y / REACH)[..., None]
    shirt = np.array(of.shirt) * (0.8 + 0.2 * np.cos(x))[..., None]
    back.paint(step(y - 1.15 - 0.25 * ax**1.5, 0.01), shirt)
    neck = cv2.GaussianBlur(((ax < 0.36) & (y > 0.5) & (y < 1.25)).astype(np.float64), (0, 0), 3)  # noqa: PLR2004  # lengths
    back.paint(neck, np.array(of.skin) * (0.62 * (0.7 + 0.3 * np.cos(x * 3)))[..., None])
    if of.long:
        crown = ((x / (of.width + 0.13)) ** 2 + ((y + 0.1) / 1.06) ** 2 < 1) & (y < 0)
        falling = (ax < of.width + 0.13 - 0.06 * np.clip(y, 0, 2) ** 2) & (y < of.long + 0.08 * np.cos(x * 3))
        hairy = crown | (falling & (y >= 0))
    else:
        back.paint(blob(ax, y, (of.width * 0.97, 0.02), (0.09, 0.2), 4), np.array(of.skin) * 0.72)
        hairy = ((x / (of.width + 0.045)) ** 2 + (y + 0.08) ** 2 < 1) & (y < -0.22)  # noqa: PLR2004  # a length
    soft = cv2.GaussianBlur(hairy.astype(np.float64), (0, 0), 2.5)
    back.paint(soft, np.array(of.hair) * (0.85 + 0.15 * cv2.resize(strands, (size, size)))[..., None])
    return back


def photo(of: Person, view: View, size: int) -> NDArray[np.uint8]:
    """Return a photo (S, S, 3) of somebody."""
    random = np.random.default_rng(view.seed)
    colour, z, head, strands = lit_head(of, view, random)
    x, y = grid(FINE)
    near = -x * np.sin(view.yaw) + z * np.cos(view.yaw)
    px, py = x * np.cos(view.yaw) + z * np.sin(view.yaw), y * np.cos(view.pitch) + near * np.sin(view.pitch)
    order = np.argsort((near * np.cos(view.pitch) - y * np.sin(view.pitch))[head], kind="stable")
    wide = 2 * size
    columns, rows = (np.rint((p[head] + REACH) / (2 * REACH) * (wide - 1)).astype(int)[order] for p in (px, py))
    layer, cover = np.zeros((wide, wide, 3)), np.zeros((wide, wide))
    layer[rows, columns], cover[rows, columns] = colour[head][order], 1
    around = cv2.GaussianBlur(layer, (0, 0), 1) / np.maximum(cv2.GaussianBlur(cover, (0, 0), 1), 1e-3)[..., None]
    layer = np.where(cover[..., None] > 0, layer, around)
    closed = cv2.GaussianBlur(cv2.morphologyEx(cover, cv2.MORPH_CLOSE, np.ones((5, 5))), (0, 0), 1.2)
    picture = behind(of, view, strands, size)
    picture.paint(*(cv2.resize(each, (size, size), interpolation=cv2.INTER_AREA) for each in (closed, layer)))
    taken = cv2.GaussianBlur(picture.pixels, (0, 0), 0.5) + random.normal(0, 1.5, picture.pixels.shape)
    pixels: NDArray[np.uint8] = np.clip(taken, 0, 255).astype(np.uint8)
    return pixels


def save(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write a JPEG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=88, optimize=True)


def main() -> None:
    """Draw all photos anew."""
    for name, person in PERSONS.items():
        *known, another = VIEWS
        for number, view in enumerate(known if name != "emil" else (), 1):
            save(photo(person, view, PHOTO), samples.PEOPLE / name / f"{number}.jpg")
        save(photo(person, another, PHOTO), samples.PHOTOS / f"{name}.jpg")
    row = []
    for name, (yaw, pitch) in IN_GROUP.items():
        view = View(yaw=yaw, pitch=pitch, light=(0.2, -0.5, 0.8), backdrop=(165, 170, 175), seed=50)
        row.append(photo(PERSONS[name], view, GROUP)[:, 30:-30])
    save(np.hstack(row), samples.PHOTOS / "group.jpg")


if __name__ == "__main__":
    main()
