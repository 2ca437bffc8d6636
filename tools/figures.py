"""Draw the figures of docs/explanation: SVG whose boxes are links to the files that they stand for.

    python tools/figures.py

Each figure is a function below, in the order in which it is read aloud. It is as narrow as a
phone, so that its text is never smaller than what surrounds it. Links are relative to the figure's
folder; the site makes addresses of them.
"""

import argparse
import os
from html import escape
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "docs" / "explanation" / "figures"
PACKAGE = "keras_espmedsam"

WIDTH = 360
LINE, TITLE_LINE, PADDING, GAP = 15, 17, 7, 20
# Widths of a letter, on average and generously, by which a text too long for its box is found.
LETTER, TITLE_LETTER = 6.3, 7.7

# Colours for a light page, for a dark one, and for the site, whose readers can choose.
STYLE = """\
.kem-figure {
  --paper: #ffffff; --ink: #1b1f24; --line: #57606a;
  --main: #dfeafa; --main-edge: #2b62a8; --extra: #fdebd7; --extra-edge: #9a4a00;
  width: min(100%, 520px); height: auto; display: block; margin: 1rem auto;
  font: 12px system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
@media (prefers-color-scheme: dark) {
  .kem-figure {
    --paper: #1b1f24; --ink: #edf1f5; --line: #a8b1bb;
    --main: #1b3654; --main-edge: #85b6f2; --extra: #4b2f14; --extra-edge: #f2ae6b;
  }
}
[data-md-color-scheme="default"] .kem-figure {
  --paper: #ffffff; --ink: #1b1f24; --line: #57606a;
  --main: #dfeafa; --main-edge: #2b62a8; --extra: #fdebd7; --extra-edge: #9a4a00;
}
[data-md-color-scheme="slate"] .kem-figure {
  --paper: #1b1f24; --ink: #edf1f5; --line: #a8b1bb;
  --main: #1b3654; --main-edge: #85b6f2; --extra: #4b2f14; --extra-edge: #f2ae6b;
}
.kem-figure text { fill: var(--ink); text-anchor: middle; }
.kem-figure .start { text-anchor: start; }
.kem-figure .name { font-size: 13px; font-weight: 600; }
.kem-figure .paper { fill: var(--paper); stroke: none; }
.kem-figure .room { fill: none; stroke: var(--line); }
.kem-figure .plain { fill: var(--paper); stroke: var(--line); }
.kem-figure .main { fill: var(--main); stroke: var(--main-edge); }
.kem-figure .extra { fill: var(--extra); stroke: var(--extra-edge); stroke-dasharray: 5 3; }
.kem-figure .seen { fill: var(--main); }
.kem-figure .centre { fill: var(--main-edge); }
.kem-figure path { fill: none; stroke: var(--line); stroke-width: 1.5; }
.kem-figure .head { fill: var(--line); stroke: none; }
.kem-figure a:hover text, .kem-figure a:focus text { text-decoration: underline; }
.kem-figure a:focus rect, .kem-figure a:hover rect { stroke-width: 2.5; }
"""


class Drawing:
    """A figure: boxes, arrows between them and what they mean.

    Args:
        name: of the file, and the beginning of the identifiers in it.
        title: what it shows, in a few words.
        description: the same in sentences, for those who do not see it.
    """

    def __init__(self, name, title, description):
        self.name = name
        self.title = title
        self.description = description
        self.parts = []
        self.files = []
        self.height = 0

    def box(self, y, title, *details, file, kind="main", x=20, width=320):
        """A box with its top at `y`; gives the y of its bottom.

        `kind`: "main", "extra" (dashed), or "plain" for what goes in and out.
        """
        letters = [(title, TITLE_LETTER), *((line, LETTER) for line in details)]
        for text, letter in letters:
            if len(text) * letter > width - 6:
                raise ValueError(f"{text!r} does not fit a box of {width}; make it shorter.")
        height = 2 * PADDING + TITLE_LINE + LINE * len(details)
        middle, line = x + width / 2, y + PADDING + 12
        lines = [_rectangle(x, y, width, height, kind), _text(middle, line, title, "name")]
        for detail in details:
            line += LINE
            lines.append(_text(middle, line, detail))
        self.parts += self._linked(lines, file)
        return self._reach(y + height)

    def room(self, top, bottom, title, file, x=8, width=344):
        """A frame around boxes that were drawn, with its name in the corner."""
        self.parts.append(_rectangle(x, top, width, bottom - top, "room"))
        self.parts += self._linked([_text(x + 10, top + 18, title, "name start")], file)
        return self._reach(bottom)

    def text(self, x, y, text, kind=""):
        self.parts.append(_text(x, y, text, kind))
        return self._reach(y + 4)

    def arrow(self, *points, head=True):
        """A line through points `(x, y)`, with a head at its end."""
        line = "M" + " L".join(f"{x:g} {y:g}" for x, y in points)
        tip = f' marker-end="url(#{self.name}-head)"' if head else ""
        self.parts.append(f'<path d="{line}"{tip} aria-hidden="true"/>')
        self._reach(max(y for _, y in points))

    def down(self, y, x=180, length=GAP):
        """An arrow downward; gives the y of its tip."""
        self.arrow((x, y), (x, y + length - 2))
        return y + length

    def plus(self, x, y):
        """A sum, with its middle at `(x, y)`; gives the y of its bottom."""
        self.parts.append(f'<circle class="plain" cx="{x:g}" cy="{y:g}" r="9"/>')
        self.parts.append(_text(x, y + 4.5, "+", "name"))
        return self._reach(y + 9)

    def residual(self, y, middle, start, adapter=None):
        """Draw the sum of what comes at `middle`, its input at `start` and an adapter's output.

        Returns where the next box begins. `adapter` is the adapter's own middle, if there is one.
        """
        y += 22
        self.arrow((middle, y - 22), (middle, y - 11))
        if adapter is not None:
            self.arrow((adapter, y - 22), (adapter, y), (middle + 11, y))
        self.arrow((middle, start), (20, start), (20, y), (middle - 11, y))
        return self.down(self.plus(middle, y), middle, 16)

    def legend(self, main, extra):
        """What the two kinds of box mean, at the top; gives the y below."""
        for y, kind, words in ((10, "main", main), (30, "extra", extra)):
            self.parts.append(_rectangle(20, y, 22, 14, kind))
            self.parts.append(_text(50, y + 11, words, "start"))
        return 56

    def svg(self):
        """The whole file."""
        height, name = self.height + 12, self.name
        # A document and no image, for a screen reader reads what is in a document, and follows
        # its links; an image would be its title alone.
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" class="kem-figure" lang="en" '
                f'viewBox="0 0 {WIDTH} {height:g}" width="{1.5 * WIDTH:g}" '
                f'height="{1.5 * height:g}" '
                f'role="graphics-document document" '
                f'aria-labelledby="{name}-title" aria-describedby="{name}-desc">',
                f'<title id="{name}-title">{escape(self.title)}</title>',
                f'<desc id="{name}-desc">{escape(self.description)}</desc>',
                f"<style>\n{STYLE}</style>",
                f'<defs><marker id="{name}-head" viewBox="0 0 8 8" refX="6" refY="4" '
                'markerWidth="6" markerHeight="6" orient="auto">'
                '<path class="head" d="M0 0 L8 4 L0 8 Z"/></marker></defs>',
                f'<rect class="paper" width="{WIDTH}" height="{height:g}" rx="6"/>',
                *self.parts,
                "</svg>",
                "",
            ]
        )

    def _linked(self, lines, file):
        path = f"{PACKAGE}/{file}"
        self.files.append(path)
        link = Path(os.path.relpath(REPOSITORY / path, FOLDER)).as_posix()
        return [f'<a href="{escape(link)}">', *lines, "</a>"]

    def _reach(self, y):
        self.height = max(self.height, y)
        return y


def _rectangle(x, y, width, height, kind):
    return (
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4"/>'
    )


def _text(x, y, text, kind=""):
    kind = f' class="{kind}"' if kind else ""
    return f'<text{kind} x="{x:g}" y="{y:g}">{escape(text)}</text>'


def esp_medsam():
    """From an image to its mask."""
    draw = Drawing(
        "esp_medsam",
        "ESP-MedSAM, from an image to its mask",
        "An image goes through a TinyViT encoder whose attention stages hold one controller for "
        "each modality. The Self-Patch Prompt Generator turns the embedding into a prompt, which "
        "is added to it. The Query-Decoupled Modality Decoder turns the sum into a mask with the "
        "query of the modality. Sizes are those of the published model at 1024 by 1024 pixels.",
    )
    y = draw.legend("shared by all modalities", "one per modality")
    model = "models/esp_medsam/"
    y = draw.box(
        y,
        "Image and its modality",
        "placed on 1024 x 1024, normalised",
        file=model + "esp_medsam_image_segmenter_preprocessor.py",
        kind="plain",
    )
    y = draw.down(y)
    top = y
    x, width, middle = 20, 172, 106
    y = draw.box(
        y + 28,
        "Patch embedding",
        "64 channels, 256 x 256",
        file="layers/patch_embedding.py",
        x=x,
        width=width,
    )
    y = draw.down(y, middle, 14)
    y = draw.box(y, "Stage 0: 2 x MBConv", file="layers/mbconv.py", x=x, width=width)
    stages = []
    for title, size in (
        ("Stage 1: 2 blocks", "128 channels, 128 x 128"),
        ("Stage 2: 6 blocks", "160 channels, 64 x 64"),
        ("Stage 3: 2 blocks", "320 channels, 64 x 64"),
    ):
        y = draw.down(y, middle, 14)
        y = draw.box(y, "Patch merging", size, file="layers/patch_merging.py", x=x, width=width)
        y = draw.down(y, middle, 14)
        stages.append(y)
        y = draw.box(
            y,
            title,
            "window attention, MLP",
            file="layers/window_attention_block.py",
            x=x,
            width=width,
        )
    left = 216
    for top_of_box, title, details, file in (
        (stages[0] + 34, "Tokens", ("a key and value", "in each attention"), "window_attention.py"),
        (stages[1] + 34, "Adapters", ("beside the MLP", "of each block"), "modality_adapter.py"),
    ):
        draw.box(
            top_of_box,
            title,
            *details,
            file=f"layers/{file}",
            kind="extra",
            x=left + 6,
            width=120,
        )
    draw.room(stages[0], y, "Controllers", file="layers/adapted_block.py", x=left, width=132)
    for stage in stages:
        draw.arrow((left, stage + 24), (x + width + 2, stage + 24))
    y = draw.down(y, middle, 14)
    y = draw.box(
        y, "Neck", "256 channels, 64 x 64", file="layers/feature_neck.py", x=x, width=width
    )
    y = draw.room(
        top, y + 10, "Image encoder: TinyViT", file="models/tiny_vit/tiny_vit_backbone.py"
    )
    split = y + 12
    draw.arrow((middle, y), (middle, split + 8))
    draw.text(236, split, "embedding, 256 x 64 x 64")
    y = draw.box(
        split + 10,
        "Self-Patch Prompt Generator",
        "which of 32 x 32 patches hold foreground?",
        "the answer, 0 or 1, becomes a prompt",
        file="layers/self_patch_prompt_generator.py",
        x=50,
        width=290,
    )
    draw.arrow((30, split), (middle, split), head=False)
    y += 22
    draw.arrow((180, y - 22), (180, y - 11))
    draw.arrow((30, split), (30, y), (169, y))
    y = draw.plus(180, y)
    draw.text(268, y - 5, "embedding + prompt")
    y = draw.down(y, length=18)
    top = y
    y = draw.box(
        y + 28,
        "Queries",
        "7 x 256: one per modality, one that only attends",
        file="layers/query_decoupled_modality_decoder.py",
    )
    y = draw.box(
        y + 8,
        "Added queries",
        "of modalities added later, hidden from the others",
        file="layers/query_decoupled_modality_decoder.py",
        kind="extra",
    )
    y = draw.down(y, length=14)
    y = draw.box(
        y,
        "Two-way transformer",
        "2 blocks: queries and pixels attend to each other",
        file="layers/two_way_transformer.py",
    )
    below = y + 14
    draw.arrow((95, y), (95, below - 2))
    draw.arrow((265, y), (265, below - 2))
    draw.box(
        below,
        "Upscaling",
        "pixels, 32 x 256 x 256",
        file="layers/upscaling_conv2d.py",
        x=20,
        width=152,
    )
    y = draw.box(
        below,
        "Hyper-network",
        "own query, 32 numbers",
        file="layers/mlp.py",
        x=188,
        width=152,
    )
    draw.arrow((95, y), (95, y + 23), (128, y + 23))
    draw.arrow((265, y), (265, y + 23), (232, y + 23))
    y = draw.text(180, y + 27, "dot product")
    y = draw.room(
        top,
        y + 10,
        "Query-Decoupled Modality Decoder",
        file="layers/query_decoupled_modality_decoder.py",
    )
    y = draw.down(y)
    y = draw.box(
        y, "Bilinear upsampling", "to 1024 x 1024 logits", file="layers/bilinear_upsampling.py"
    )
    y = draw.down(y)
    draw.box(
        y,
        "Mask",
        "brought back to the image's own size",
        file="imaging/placement.py",
        kind="plain",
    )
    return draw


def controller():
    """A block of the encoder, with the parts of a modality."""
    draw = Drawing(
        "controller",
        "One attention block of the encoder, with its modality controller",
        "The block's input is normalised, attended in windows and added to itself. The "
        "controller's token joins the keys and the values. A depthwise convolution follows. Then "
        "an MLP and, beside it, the controller's adapter are added to their input.",
    )
    y = draw.legend("shared by all modalities", "one per modality")
    x, width, middle, right = 36, 168, 120, 220
    y = draw.box(
        y, "Feature map", file="layers/window_attention_block.py", kind="plain", x=x, width=width
    )
    start = y + 8
    draw.arrow((middle, y), (middle, start), head=False)
    y = draw.down(start, middle, 14)
    attention = y
    y = draw.box(
        y,
        "Window attention",
        "normalise; queries,",
        "keys and values; attend",
        "in windows; project",
        file="layers/window_attention.py",
        x=x,
        width=width,
    )
    draw.box(
        attention,
        "Token",
        "one more key, and",
        "the same as value;",
        "and a logit bias",
        file="layers/modality_variables.py",
        kind="extra",
        x=right,
        width=132,
    )
    draw.arrow((right, attention + 38), (x + width + 2, attention + 38))
    y = draw.residual(y, middle, start)
    y = draw.box(y, "Depthwise 3 x 3", "convolution", file="layers/conv_norm.py", x=x, width=width)
    start = y + 10
    draw.arrow((middle, y), (middle, start), head=False)
    y = draw.down(start, middle, 14)
    draw.arrow((middle, start), (right + 62, start), (right + 62, y - 2))
    mlp = y
    y = draw.box(
        y, "MLP", "normalise, widen 4 x,", "narrow", file="layers/mlp.py", x=x, width=width
    )
    draw.box(
        mlp,
        "Adapter",
        "normalise, widen",
        "4 x, narrow",
        file="layers/modality_adapter.py",
        kind="extra",
        x=right,
        width=132,
    )
    y = draw.residual(y, middle, start, right + 62)
    draw.box(
        y,
        "Feature map",
        "to the next block",
        file="layers/window_attention_block.py",
        kind="plain",
        x=x,
        width=width,
    )
    return draw


def msa_conv():
    """The layer MSAConv2D."""
    draw = Drawing(
        "msa_conv",
        "MSA-Conv: self-attention in the window of a convolution",
        "Every pixel of a feature map attends to the pixels of the window around it. The result is "
        "added to the map and goes through a convolution of the same window. Keys that are pooled "
        "from a coarser grid, and a token for each modality, can join the window.",
    )
    y = draw.legend("as released", "added in this package")
    cell, columns, rows, left = 16, 11, 6, 92
    draw.text(180, y + 10, "each pixel attends to the window around it")
    top = y + 18
    for row in range(rows):
        for column in range(columns):
            kind = "plain"
            if 1 <= row <= 3 and 4 <= column <= 6:
                kind = "centre" if (row, column) == (2, 5) else "plain seen"
            x = left + cell * column
            draw.parts.append(
                f'<rect class="{kind}" x="{x}" y="{top + cell * row}" '
                f'width="{cell}" height="{cell}"/>'
            )
    y = top + cell * rows
    start = y + 8
    draw.arrow((120, y), (120, start), head=False)
    y = draw.down(start, 120, 14)
    x, width, right = 32, 176, 222
    y = draw.box(
        y,
        "Queries, keys, values",
        "one 1 x 1 convolution",
        file="layers/dense.py",
        x=x,
        width=width,
    )
    y = draw.down(y, 120, 14)
    attention = y
    y = draw.box(
        y,
        "Attention",
        "softmax over the k x k",
        "pixels of the window,",
        "head by head",
        file="ops/msa_conv2d.py",
        x=x,
        width=width,
    )
    bottom = draw.box(
        attention - 34,
        "Inter-pooling",
        "keys of a coarser",
        "grid",
        file="layers/inter_pooling.py",
        kind="extra",
        x=right,
        width=132,
    )
    draw.box(
        bottom + 8,
        "Token",
        "of the modality",
        file="layers/modality_variables.py",
        kind="extra",
        x=right,
        width=132,
    )
    draw.arrow((right, attention + 14), (x + width + 2, attention + 14))
    draw.arrow((right, bottom + 28), (x + width + 2, bottom + 28))
    y += 22
    draw.arrow((120, y - 22), (120, y - 11))
    draw.arrow((120, start), (16, start), (16, y), (109, y))
    y = draw.plus(120, y)
    y = draw.down(y, 120, 16)
    y = draw.box(
        y,
        "Convolution, ReLU",
        "its width and stride",
        file="layers/msa_conv2d.py",
        x=x,
        width=width,
    )
    y = draw.down(y, 120, 14)
    draw.box(y, "Feature map", file="layers/msa_conv2d.py", kind="plain", x=x, width=width)
    return draw


def tic():
    """The network TiCBackbone."""
    draw = Drawing(
        "tic",
        "TiC: a feature pyramid of MSA-Conv blocks",
        "A convolutional stem reduces the image to a quarter of its resolution. Four stages of TiC "
        "blocks follow, with a merging that halves the resolution between two of them. Their "
        "feature maps, called P2 to P5, are the pyramid. Behind it is a classifier, or a neck that "
        "makes an embedding for ESP-MedSAM. Numbers are those of tic_tiny.",
    )
    x, width, middle, right = 20, 200, 120, 252
    y = draw.box(
        12,
        "Image of any size",
        file="models/tic/tic_image_converter.py",
        kind="plain",
        x=x,
        width=width,
    )
    y = draw.down(y, middle, 16)
    top = y
    y = draw.box(
        y + 28,
        "Stem",
        "two 3 x 3 convolutions",
        file="layers/patch_embedding.py",
        x=x,
        width=width,
    )
    for stage, (channels, depth) in enumerate(((64, 3), (128, 4), (256, 18), (512, 5))):
        if stage:
            y = draw.down(y, middle, 14)
            y = draw.box(y, "Patch merging", file="layers/patch_merging.py", x=x, width=width)
        y = draw.down(y, middle, 14)
        stride = 4 * 2**stage
        draw.arrow((x + width, y + 24), (right - 2, y + 24))
        draw.text(right + 4, y + 21, f"P{2 + stage}: 1/{stride}", "start")
        draw.text(right + 4, y + 36, "of the size", "start")
        y = draw.box(
            y,
            f"Stage {stage}: {depth} blocks",
            f"{channels} channels",
            file="layers/tic_block.py",
            x=x,
            width=width,
        )
    y = draw.room(top, y + 12, "TiCBackbone", file="models/tic/tic_backbone.py")
    below = y + 20
    draw.arrow((96, y), (96, below - 2))
    draw.arrow((266, y), (266, below - 2))
    draw.box(
        below,
        "Classifier",
        "names the modality",
        file="models/tic/tic_image_classifier.py",
        x=20,
        width=150,
    )
    draw.box(
        below,
        "Neck",
        "embedding for a decoder",
        file="layers/feature_neck.py",
        x=184,
        width=162,
    )
    return draw


def tic_block():
    """One TiCBlock."""
    draw = Drawing(
        "tic_block",
        "One TiC block",
        "The block's input is normalised, shifted in every second block, attended by MSA-Conv, "
        "shifted back and added to itself. A depthwise convolution follows. Then an MLP and, in an "
        "encoder of ESP-MedSAM, a modality's adapter are added to their input.",
    )
    y = draw.legend("in every block", "can be switched off")
    x, width, middle, right = 36, 168, 120, 220
    y = draw.box(y, "Feature map", file="layers/tic_block.py", kind="plain", x=x, width=width)
    start = y + 8
    draw.arrow((middle, y), (middle, start), head=False)
    y = draw.down(start, middle, 14)
    y = draw.box(y, "Layer norm", file="layers/tic_block.py", x=x, width=width)
    for title, details, file, kind in (
        ("Cyclic shift", ("channels, in 8 directions",), "layers/cyclic_shift.py", "extra"),
        ("MSA-Conv", ("attention in the window",), "layers/msa_conv2d.py", "main"),
        ("Shift back", (), "layers/cyclic_shift.py", "extra"),
    ):
        y = draw.down(y, middle, 14)
        if title == "MSA-Conv":
            attention = y
        y = draw.box(y, title, *details, file=file, kind=kind, x=x, width=width)
    for offset, title, detail, file in (
        (-40, "Inter-pooling", "coarser keys", "layers/inter_pooling.py"),
        (24, "Token", "of the modality", "layers/modality_variables.py"),
    ):
        draw.box(attention + offset, title, detail, file=file, kind="extra", x=right, width=132)
    draw.arrow((right + 66, attention + 4), (right + 66, attention + 22), head=False)
    draw.arrow((right + 66, attention + 14), (x + width + 2, attention + 14))
    y = draw.residual(y, middle, start)
    y = draw.box(y, "Depthwise 3 x 3", "convolution", file="layers/conv_norm.py", x=x, width=width)
    start = y + 10
    draw.arrow((middle, y), (middle, start), head=False)
    y = draw.down(start, middle, 14)
    draw.arrow((middle, start), (right + 66, start), (right + 66, y - 2))
    draw.box(
        y,
        "Adapter",
        "of the modality",
        file="layers/modality_adapter.py",
        kind="extra",
        x=right,
        width=132,
    )
    y = draw.box(y, "MLP", "normalise, widen, narrow", file="layers/mlp.py", x=x, width=width)
    y = draw.residual(y, middle, start, right + 66)
    draw.box(
        y,
        "Feature map",
        "to the next block",
        file="layers/tic_block.py",
        kind="plain",
        x=x,
        width=width,
    )
    return draw


FIGURES = (esp_medsam, controller, msa_conv, tic, tic_block)


def main():
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for figure in FIGURES:
        drawing = figure()
        path = FOLDER / f"{drawing.name}.svg"
        path.write_text(drawing.svg(), encoding="utf-8")
        print(f"Wrote {path.relative_to(REPOSITORY)}.")


if __name__ == "__main__":
    main()
