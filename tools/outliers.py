"""Images that are no medical image: what a classifier of modalities learns to refuse.

All are made here, from random numbers, from Pillow's own font, from training images broken
beyond recognition, and from photographs that come with scikit-image and matplotlib. Never used:
scikit-image's astronaut, coffee and page, which test the refusal, and its medical images.
"""

import importlib.resources
import io

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

PHOTOGRAPHS = {
    "skimage.data": (
        "brick.png",
        "camera.png",
        "chelsea.png",
        "chessboard_RGB.png",
        "color.png",
        "grass.png",
        "gravel.png",
        "horse.png",
        "logo.png",
        "moon.png",
        "motorcycle_right.png",
        "rocket.jpg",
        "text.png",
    ),
    "matplotlib": (
        "mpl-data/sample_data/grace_hopper.jpg",
        "mpl-data/sample_data/logo2.png",
        "mpl-data/sample_data/Minduka_Present_Blue_Pack.png",
    ),
}
HELD_OUT_PHOTOGRAPHS = {"skimage.data": ("clock_motion.png", "motorcycle_left.png")}


def read_photographs(packages=PHOTOGRAPHS, longest=448):
    """The photographs as a list of uint8 arrays `(height, width, 3)`."""
    found = []
    for package, names in packages.items():
        for name in names:
            data = importlib.resources.files(package).joinpath(name).read_bytes()
            image = Image.open(io.BytesIO(data)).convert("RGB")
            image.thumbnail((longest, longest))
            found.append(np.asarray(image))
    return found


def crop(image, size, rng, least=0.25):
    """A random part of an image, flipped or not, stretched to `(size, size)`."""
    height, width = image.shape[:2]
    part = rng.uniform(least, 1, 2)
    h, w = (max(8, int(side * share)) for side, share in zip((height, width), part, strict=True))
    top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
    image = Image.fromarray(image[top : top + h, left : left + w])
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


# === Synthetic ones: a size and a generator to a uint8 array (size, size, 3) ===


def _spectrum(size, rng, channels):
    """Noise whose amplitude falls with the frequency to a random power, in [0, 1]."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    amplitude = 1 / np.maximum(frequency, 1 / size) ** rng.uniform(0, 2.2)
    phases = rng.normal(size=(channels, 2, *frequency.shape))
    noise = np.fft.irfft2((phases[:, 0] + 1j * phases[:, 1]) * amplitude, (size, size))
    noise -= noise.min(axis=(1, 2), keepdims=True)
    return np.moveaxis(noise / noise.max(axis=(1, 2), keepdims=True), 0, -1)


def _colour(rng):
    return rng.integers(0, 256, 3)


def _two_colours(values, rng):
    """Values in [0, 1] as a scale between two random colours."""
    a, b = _colour(rng), _colour(rng)
    return (a + (b - a) * values).astype("uint8")


def _bytes(values):
    return np.clip(np.round(values), 0, 255).astype("uint8")


def noise(size, rng):
    if rng.random() < 0.5:
        return _bytes(_spectrum(size, rng, 3) * 255)
    return _two_colours(_spectrum(size, rng, 1), rng)


def gradient(size, rng):
    rows, columns = np.mgrid[:size, :size] / size
    values = np.zeros((size, size, 1))
    for _ in range(rng.integers(1, 4)):
        if rng.random() < 0.5:
            angle = rng.uniform(0, 2 * np.pi)
            one = np.cos(angle) * rows + np.sin(angle) * columns
        else:
            one = np.hypot(rows - rng.uniform(-0.2, 1.2), columns - rng.uniform(-0.2, 1.2))
        values += one[..., None] * rng.uniform(-1, 1)
    values -= values.min()
    return _two_colours(values / max(values.max(), 1e-6), rng)


def stripes(size, rng):
    rows, columns = np.mgrid[:size, :size]
    kind, period = rng.integers(3), rng.uniform(3, size / 2)
    if kind == 0:
        values = (rows // period + columns // period) % 2
    elif kind == 1:
        angle = rng.uniform(0, np.pi)
        values = ((np.cos(angle) * rows + np.sin(angle) * columns) // period) % 2
    else:
        centre = rng.uniform(0, size, 2)
        values = 0.5 + 0.5 * np.sin(np.hypot(rows - centre[0], columns - centre[1]) / period * 6)
    return _two_colours(values[..., None], rng)


def _texture(size, rng, pool):
    """What a shape is filled with: a colour, a scale, noise or a piece of a photograph."""
    kind = rng.integers(4)
    if kind == 0:
        return np.broadcast_to(_colour(rng).astype("uint8"), (size, size, 3))
    if kind == 1:
        return gradient(size, rng)
    if kind == 2 or not pool:
        return noise(size, rng)
    return crop(pool[rng.integers(len(pool))], size, rng)


def shapes(size, rng, pool=()):
    """Many shapes that hide each other, as things do in a photograph."""
    out = _texture(size, rng, pool).copy()
    largest = size * rng.uniform(0.15, 0.6)
    for _ in range(rng.integers(2, 25)):
        mask = Image.new("L", (size, size))
        draw, centre = ImageDraw.Draw(mask), rng.uniform(0, size, 2)
        radius = largest * rng.uniform(0.2, 1) ** 2 + 2
        kind = rng.integers(4)
        if kind == 0:
            draw.ellipse([*(centre - radius * rng.uniform(0.4, 1, 2)), *(centre + radius)], 255)
        elif kind == 1:
            draw.rectangle([*(centre - radius), *(centre + radius * rng.uniform(0.3, 1, 2))], 255)
        elif kind == 2:
            angles = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(3, 9)))
            around = radius * rng.uniform(0.4, 1.4, len(angles))
            points = centre[:, None] + around * np.stack([np.cos(angles), np.sin(angles)])
            draw.polygon([tuple(point) for point in points.T], 255)
        else:
            ends = [tuple(end) for end in rng.uniform(0, size, (rng.integers(2, 6), 2))]
            draw.line(ends, 255, int(rng.integers(1, 9)))
        if rng.random() < 0.3:
            mask = mask.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 4)))
        share = np.asarray(mask, "float32")[..., None] / 255
        out = _bytes(out * (1 - share) + _texture(size, rng, pool) * share)
    return out


def text(size, rng):
    """A page, a screen or a label in Pillow's own font, lit unevenly and turned a little."""
    scale = 2
    paper, ink = (230, 25) if rng.random() < 0.7 else (25, 230)
    page = Image.new("L", (size * scale, size * scale), int(paper))
    draw = ImageDraw.Draw(page)
    letters = np.array(list("aaabcdeeeefghiiijklmnnooopqrrssttttuuvwxyz"))
    height = int(rng.integers(8, 40))
    font = ImageFont.load_default(height)
    y, left = int(rng.integers(-10, 40)), int(rng.integers(-30, 40))
    while y < size * scale:
        words = ["".join(rng.choice(letters, rng.integers(1, 11))) for _ in range(14)]
        if rng.random() < 0.85:
            draw.text((left, y), " ".join(words).capitalize(), int(ink), font)
        elif rng.random() < 0.3:
            end = left + int(rng.integers(40, 200))
            draw.rectangle([left, y, end, y + height], int(rng.integers(60, 200)))
        y += int(height * rng.uniform(1.1, 1.9))
    page = page.rotate(rng.normal() * 3, Image.Resampling.BILINEAR, fillcolor=int(paper))
    values = np.asarray(page.resize((size, size), Image.Resampling.BILINEAR), "float32")[..., None]
    light = 0.5 + 0.5 * np.asarray(gradient(size, rng), "float32")[..., :1] / 255
    tint = rng.uniform(0.75, 1, 3) if rng.random() < 0.5 else 1
    return _bytes(values * light * tint * np.ones(3) + rng.normal(size=(size, size, 1)) * 4)


def collage(size, rng, pool=()):
    """Tiles of unequal size, each of another filling."""
    out = np.empty((size, size, 3), "uint8")
    cuts = [[0, *np.sort(rng.integers(1, size, rng.integers(0, 4))), size] for _ in range(2)]
    for top, bottom in zip(cuts[0], cuts[0][1:], strict=False):
        for left, right in zip(cuts[1], cuts[1][1:], strict=False):
            out[top:bottom, left:right] = _texture(size, rng, pool)[top:bottom, left:right]
    return out


def mosaic(size, rng):
    """Cells around random points. Held out: no training image is made by it."""
    points = rng.uniform(0, size, (rng.integers(5, 80), 2))
    rows, columns = np.mgrid[:size, :size]
    distance = (rows[..., None] - points[:, 0]) ** 2 + (columns[..., None] - points[:, 1]) ** 2
    colours = rng.integers(0, 256, (len(points), 3)).astype("uint8")
    return colours[distance.argmin(axis=-1)]


def interference(size, rng):
    """Waves added up, another sum per channel. Held out as well."""
    rows, columns = np.mgrid[:size, :size] / size
    out = np.zeros((size, size, 3))
    for _ in range(rng.integers(2, 6)):
        waves = rng.uniform(-25, 25, (2, 3))
        phase = rng.uniform(0, 6, 3)
        out += np.sin(rows[..., None] * waves[0] + columns[..., None] * waves[1] + phase)
    return _bytes(127 + 127 * out / np.abs(out).max())


def bars(size, rng):
    """A chart: axes and bars in colours on paper. Held out as well."""
    image = Image.new("RGB", (size, size), tuple(int(c) for c in rng.integers(200, 256, 3)))
    draw, count = ImageDraw.Draw(image), int(rng.integers(3, 12))
    width = size * 0.8 / count
    for k in range(count):
        top = size * rng.uniform(0.1, 0.85)
        left = size * 0.12 + k * width
        fill = tuple(int(c) for c in _colour(rng))
        draw.rectangle([left, top, left + width * 0.7, size * 0.9], fill=fill)
    draw.line([(size * 0.1, size * 0.05), (size * 0.1, size * 0.9)], (0, 0, 0), 1)
    draw.line([(size * 0.1, size * 0.9), (size * 0.95, size * 0.9)], (0, 0, 0), 1)
    return np.asarray(image)


SYNTHETIC = {
    "noise": noise,
    "gradient": gradient,
    "stripes": stripes,
    "shapes": shapes,
    "text": text,
    "collage": collage,
}
HELD_OUT = {"mosaic": mosaic, "interference": interference, "bars": bars}
_WITH_PHOTOGRAPHS = ("shapes", "collage")


def synthetic(count, size, rng, photographs=(), kinds=SYNTHETIC):
    """A list of (kind, uint8 `(size, size, 3)`) of equally many of each kind."""
    found = []
    for k in range(count):
        name = list(kinds)[k % len(kinds)]
        more = (photographs,) if name in _WITH_PHOTOGRAPHS else ()
        found.append((name, kinds[name](size, rng, *more)))
    return found


# === Training images that are no longer what they were ===


def broken(image, modality, rng):
    """A medical image cut up or in wrong colours; `None` where that would still be one.

    Turned colours are no change of grey images, and nuclei look alike however they are cut up
    or coloured: stains are of all colours.
    """
    ways = {
        "dermoscopy": ("hue", "channels", "invert", "shuffle"),
        "fundus": ("hue", "channels", "invert", "shuffle"),
        "colonoscopy": ("hue", "channels", "invert", "shuffle"),
        "xray": ("shuffle", "tint"),
        "ultrasound": ("tint",),
    }.get(modality)
    if ways is None:
        return None
    way = ways[rng.integers(len(ways))]
    if way == "invert":
        return 255 - image
    if way == "channels":
        # Red exchanged for another: what shows tissue is reddish in all three of them.
        order = [(1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)][rng.integers(4)]
        return image[..., order]
    if way == "hue":
        hsv = np.array(Image.fromarray(image).convert("HSV"))
        hsv[..., 0] += np.uint8(rng.integers(70, 186))
        return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
    if way == "tint":
        # Two saturated colours instead of black and white.
        return _two_colours(image[..., :1] / 255, rng)
    tiles = int(rng.integers(3, 8))
    side = image.shape[0] // tiles
    grid = image[: side * tiles, : side * tiles].reshape(tiles, side, tiles, side, 3)
    parts = grid.transpose(0, 2, 1, 3, 4).reshape(-1, side, side, 3)[rng.permutation(tiles**2)]
    grid = parts.reshape(tiles, tiles, side, side, 3).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(grid.reshape(side * tiles, side * tiles, 3))
