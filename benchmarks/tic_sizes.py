"""Parameters and multiply-adds of the TiC configurations, beside Swin and NAT of like size.

    python benchmarks/tic_sizes.py --output docs/reports

Writes `tic_sizes.md`. Parameters are counted by Keras, multiply-adds (GMAC) from the layers'
shapes, attention included as its window says (not as the tiles multiply it). The figures of Swin
(arXiv 2103.14030) and NAT (arXiv 2204.07143) are those of their papers.
"""

import argparse
import pathlib

import keras_espmedsam as kem

CONFIGURATIONS = ("tic_tiny", "tic_small", "tic_base")
SIZE = 224
PUBLISHED = {
    "tic_tiny": [("Swin-T", 28, 4.5), ("NAT-T", 28, 4.3)],
    "tic_small": [("Swin-S", 50, 8.7), ("NAT-S", 51, 7.8)],
    "tic_base": [("Swin-B", 88, 15.4), ("NAT-B", 90, 13.7)],
}


def multiply_adds(backbone, height, width):
    """Multiply-adds of one forward pass of a `TiCBackbone` without neck and controllers."""
    dims, kernel = backbone.hidden_dims, backbone.kernel_size**2

    def tokens(stride):
        return -(-height // stride) * -(-width // stride)

    half = dims[0] // 2
    total = tokens(2) * 27 * half + tokens(4) * 9 * half * dims[0]
    keys = 2 * kernel if backbone.pool_size else kernel
    for stage, (width_, depth) in enumerate(zip(dims, backbone.depths, strict=True)):
        dense = 4 * width_**2 + 2 * width_ * int(width_ * backbone.mlp_ratio)
        # Queries with keys, weights with values; the depthwise 3 x 3 convolution.
        total += depth * tokens(4 * 2**stage) * (dense + 2 * keys * width_ + 9 * width_)
        if stage + 1 < len(dims):
            wider = dims[stage + 1]
            total += tokens(4 * 2**stage) * width_ * wider
            total += tokens(8 * 2**stage) * (9 * wider + wider**2)
    return total


def rows():
    for name in CONFIGURATIONS:
        backbone = kem.models.TiCBackbone.from_preset(name, load_weights=False)
        gmac = multiply_adds(backbone, SIZE, SIZE) / 1e9
        larger = multiply_adds(backbone, 512, 640) / 1e9
        beside = "; ".join(f"{other} {p} M, {g} GMAC" for other, p, g in PUBLISHED[name])
        yield (
            f"| `{name}` | {backbone.hidden_dims} | {backbone.depths} | "
            f"{backbone.count_params() / 1e6:.1f} M | {gmac:.2f} | {larger:.1f} | {beside} |"
        )


DOCUMENT = """\
# Sizes of TiC

    python benchmarks/tic_sizes.py --output docs/reports

Of the network no more than names is published: widths and depths are ours, after NAT's. Backbone
alone, both mechanisms on. GMAC: 10⁹ multiply-adds of one forward pass. None of these
configurations was trained here: they say what fits beside which published model, not how well it
does.

| preset | widths | depths | parameters | GMAC at 224 x 224 | at 512 x 640 | published, 224 x 224 |
|---|---|---|---|---|---|---|
{rows}
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("docs/reports"))
    arguments = parser.parse_args()
    text = DOCUMENT.format(rows="\n".join(rows()))
    arguments.output.mkdir(parents=True, exist_ok=True)
    temporary = arguments.output / "tic_sizes.tmp"
    temporary.write_text(text)
    temporary.replace(arguments.output / "tic_sizes.md")
    print(text)


if __name__ == "__main__":
    main()
