"""The programs in examples/ run as they are; those in examples/exported do in tests/export."""

import runpy

from PIL import Image

from tests.docs.page_blocks import ROOT


def test_the_demo_writes_masks_and_overlays(page_folder, capsys):
    runpy.run_path(str(ROOT / "examples" / "demo.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert "retina (fundus: recognised, " in told
    assert "cell (microscopy: given; 550 x 660)" in told
    for name, size, mask in (
        ("retina", (1411, 1411), "vessels_mask"),
        ("cell", (550, 660), "mask"),
    ):
        for kind, mode in ((mask, "L"), ("overlay", "RGB")):
            path = page_folder / "demo_output" / f"{name}_{kind}.png"
            assert str(path) in told
            with Image.open(path) as image:
                # A legend of several targets is below.
                assert (image.width, image.mode) == (size[0], mode)
                assert image.height == size[1] or (name, kind) == ("retina", "overlay")
        with Image.open(page_folder / "demo_output" / f"{name}_{mask}.png") as image:
            levels = {level for _, level in image.getcolors()}
            assert levels == {0, 255}
