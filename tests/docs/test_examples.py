"""The programs in examples/ run as they are; those in examples/exported do in tests/export."""

import runpy

from PIL import Image

from tests.docs.page_blocks import ROOT


def test_the_demo_writes_masks_and_overlays(page_folder, capsys):
    runpy.run_path(str(ROOT / "examples" / "demo.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert "retina (fundus: recognised, " in told
    assert "cell (microscopy: given; 550 x 660): " in told
    for name, size in (("retina", (1411, 1411)), ("cell", (550, 660))):
        for kind, mode in (("mask", "L"), ("overlay", "RGB")):
            path = page_folder / "demo_output" / f"{name}_{kind}.png"
            assert str(path) in told
            with Image.open(path) as image:
                assert (image.size, image.mode) == (size, mode)
        with Image.open(page_folder / "demo_output" / f"{name}_mask.png") as mask:
            levels = {level for _, level in mask.getcolors()}
            assert levels == {0, 255}
