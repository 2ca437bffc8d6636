"""Which blocks a page has."""

import pytest

from tests.docs.page_blocks import Block, blocks_of

PAGE = """---
title: a page
---
# A page

<!-- setup
import numpy as np
-->

    espmedsam segment eye.png
    espmedsam presets

Text, `code`, and <!-- a comment --> more.

    no command

```yaml title="train.yaml"
seed: 0
```

=== "PyTorch"

    ```python
    if True:
        1
    ```

- A list:

      ESPMEDSAM_DATA=DATA \\
          python benchmarks/speed.py nano

<!-- not run: it needs a phone,
and a cable -->

```sh
adb devices
```

!!! note

    espmedsam is a word here.

```{.text title="x.txt"}
<!-- setup
not Python
-->
```
"""


def test_blocks_come_in_their_order_with_their_lines(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    assert blocks_of(path) == [
        Block(2, "yaml", "title: a page"),
        Block(7, "setup", "import numpy as np"),
        Block(10, "sh", "espmedsam segment eye.png\nespmedsam presets\n"),
        Block(18, "yaml", "seed: 0\n", title="train.yaml"),
        Block(24, "python", "if True:\n    1\n"),
        Block(30, "sh", "ESPMEDSAM_DATA=DATA \\\n    python benchmarks/speed.py nano\n"),
        Block(37, "sh", "adb devices\n", reason="it needs a phone, and a cable"),
        Block(45, "text", "<!-- setup\nnot Python\n-->\n", title="x.txt"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<!-- not run -->\n\n```sh\nx\n```\n", "gives no reason"),
        ("<!-- not run: a phone -->\n\nText.\n\n```sh\nx\n```\n", "no block follows"),
        ("<!-- not run: a phone -->\n", "no block follows"),
    ],
)
def test_what_is_not_run_has_a_reason_and_a_block(text, told, tmp_path):
    path = tmp_path / "page.md"
    path.write_text(text)
    with pytest.raises(AssertionError, match=told):
        blocks_of(path)
