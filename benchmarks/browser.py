"""Compare the masks of the page for browsers with Python's, and measure time and memory.

    espmedsam export --format web --output site
    KERAS_BACKEND=tensorflow python benchmarks/browser.py site --output browser.json

Ten made images and three of scikit-image are opened in a headless Chromium, as a person would do
it, and the masks are saved by the page's button. It needs selenium, and Chromium with its driver
(Debian: `apt-get install chromium chromium-driver`). With `--screenshots` it stores what the page
looks like, at 1280 and 390 pixels.
"""

import argparse
import contextlib
import functools
import http.server
import io
import json
import os
import pathlib
import platform
import shutil
import tempfile
import threading
import time

import numpy as np
from PIL import Image

BROWSER, DRIVER = "chromium", "chromedriver"
WAIT_SECONDS = 120


class Page:
    """The page in a browser.

    Args:
        driver: selenium's.
        site: `Site`, where the page comes from.
        folder: `pathlib.Path`, for opened and saved files.
    """

    def __init__(self, driver, site, folder):
        self.driver, self.site, self.folder = driver, site, folder
        self.load()

    def load(self):
        """Load the page anew, and wait until it is ready."""
        self.driver.get(self.site.address)
        self.settle()

    def of(self, name):
        return self.driver.find_element("id", name)

    def choose(self, modality):
        """Choose a modality, and wait for what that changes."""
        option = f"#modality option[value='{modality}']"
        self.driver.find_element("css selector", option).click()
        self.settle()

    def open(self, name, content, modality="auto"):
        """Open a file, and return how many seconds its masks took; raise with the page's words."""
        path = self.folder / name
        path.write_bytes(content)
        if self.of("modality").get_attribute("value") != modality:
            self.driver.execute_script(
                "document.getElementById('modality').value = arguments[0]", modality
            )
        began = time.perf_counter()
        self.of("file").send_keys(str(path))
        self.settle()
        return time.perf_counter() - began

    def settle(self):
        """Wait until the page has done what it was asked for."""
        until = time.monotonic() + WAIT_SECONDS
        while (
            self.driver.execute_script("return document.documentElement.dataset.state") != "ready"
        ):
            if time.monotonic() > until:
                raise TimeoutError(self.of("status").text)
            time.sleep(0.02)
        if self.of("problem").text:
            raise RuntimeError(self.of("problem").text)

    def masks(self):
        """Save the mask of each target; return a dict of target to bool `(height, width)`."""
        found = {}
        for radio in self.driver.find_elements("css selector", "#targets input[type=radio]"):
            radio.click()
            path = self.saved("save-mask")
            found[radio.get_attribute("value")] = np.asarray(Image.open(path)) > 0
        return found

    def saved(self, button):
        """Save a result by a button, and return its path."""
        self.driver.execute_script("document.getElementById('status').textContent = ''")
        self.of(button).click()
        until = time.monotonic() + WAIT_SECONDS
        while True:
            words = self.of("status").text
            path = self.folder / words.removeprefix("Saved as ").removesuffix(".")
            if words.startswith("Saved as ") and path.is_file():
                break
            if time.monotonic() > until:
                raise TimeoutError(words)
            time.sleep(0.02)
        return path.rename(self.folder / f"{time.monotonic_ns()}{path.suffix}")

    def requests(self):
        """Addresses that the page asked for since the last call, in the browser's own log."""
        found = []
        for one in self.driver.get_log("performance"):
            message = json.loads(one["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                address = message["params"]["request"]["url"]
                if not address.startswith("blob:"):  # A saved file, or the page's worker.
                    found.append(address)
        return found


class Site:
    """A folder on loopback, and the addresses that were asked of it."""

    def __init__(self, folder):
        asked = self.asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *args):
                asked.append(self.path)

        handler = functools.partial(Handler, directory=str(folder))
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@contextlib.contextmanager
def opened_page(folder, width=1280, height=900, dark=False):
    """Serve a site on loopback and open it in a headless browser.

    Args:
        folder: the site.
        width, height: of the window, in pixels.
        dark: whether the reader prefers dark colours.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    site = Site(folder)
    with tempfile.TemporaryDirectory() as files:
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which(BROWSER)
        # The sandbox cannot be set up in most containers.
        for one in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
            options.add_argument(one)
        options.add_experimental_option("prefs", {"download.default_directory": files})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options, Service(shutil.which(DRIVER)))
        try:
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
            yield Page(driver, site, pathlib.Path(files))
        finally:
            driver.quit()
            site.stop()


def made_image(seed, size):
    """A made image: bright and dark blobs on a gradient, with noise; uint8 RGB."""
    rng = np.random.default_rng(seed)
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    image = np.full((height, width, 3), rng.uniform(40, 160, 3))
    image += (rows / height * rng.uniform(-40, 40))[..., None]
    for _ in range(8):
        y, x, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(10, height / 4)
        inside = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        image[inside] += rng.uniform(-90, 90, 3)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype("uint8")


def images():
    """Yield name, modality and image: ten made ones, and three of scikit-image."""
    from skimage import data

    sizes = [(256, 256), (300, 400), (511, 333), (768, 1024), (97, 640)]
    names = ["dermoscopy", "xray", "ultrasound", "fundus", "microscopy", "colonoscopy"]
    for number in range(10):
        name = names[number % len(names)]
        yield f"made {number}", name, made_image(number, sizes[number % len(sizes)])
    yield "retina", "fundus", data.retina()
    yield "cell", "microscopy", data.cell()
    yield "immunohistochemistry", "microscopy", data.immunohistochemistry()


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def difference(masks, expected, targets):
    """The share of pixels that differ, of the target where it is the largest."""
    expected = expected if expected.ndim == 3 else expected[..., None]
    return max(float((masks[name] != expected[..., k]).mean()) for k, name in enumerate(targets))


def resident_mib():
    """Resident memory of the browser that shows the page, in MiB: its largest process."""
    largest = 0
    for process in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"--type=renderer" in (process / "cmdline").read_bytes():
                lines = (process / "status").read_text().splitlines()
                largest = max(largest, *(int(x.split()[1]) for x in lines if x[:6] == "VmRSS:"))
    return round(largest / 1024)


def measure(site, segmenter):
    """Return rows of difference and time, and what was requested after the page had loaded."""
    rows = []
    with opened_page(site) as page:
        page.requests()
        asked = len(page.site.asked)
        for name, modality, image in images():
            seconds = page.open("image.png", png(image), modality)
            masks = page.masks()
            row = {"image": name, "modality": modality, "size": list(image.shape[:2])}
            row["seconds"] = round(seconds, 2)
            began = time.perf_counter()
            found = segmenter.segment(image, modality)
            row["keras_seconds"] = round(time.perf_counter() - began, 2)
            row["foreground"] = round(max(float(mask.mean()) for mask in masks.values()), 3)
            row["differs"] = difference(masks, found["masks"], found["targets"])
            row["resident_mib"] = resident_mib()
            print(json.dumps(row), flush=True)
            rows.append(row)
        return {
            "rows": rows,
            "requests_after_load": page.requests() + page.site.asked[asked:],
            "problems": page.driver.get_log("browser"),
        }


def screenshots(site, folder):
    """Store what the page looks like, empty and with masks, at two widths and in two schemes."""
    from skimage import data

    folder.mkdir(parents=True, exist_ok=True)
    for width, height in ((1280, 900), (390, 844)):
        for dark in (False, True):
            with opened_page(site, width, height, dark) as page:
                path = folder / f"{width}{'_dark' if dark else ''}"
                page.driver.save_screenshot(f"{path}_empty.png")
                page.open("retina.png", png(data.retina()[::2, ::2]))
                tall = page.driver.execute_script("return document.documentElement.scrollHeight")
                size = {"width": width, "height": tall, "deviceScaleFactor": 1, "mobile": False}
                page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
                page.driver.save_screenshot(f"{path}.png")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=pathlib.Path, help="what `export --format web` wrote")
    parser.add_argument("--preset", default="espmedsam_nano_256", help="the one it was made from")
    parser.add_argument("--output", type=pathlib.Path, help="JSON file")
    parser.add_argument("--screenshots", type=pathlib.Path, help="folder, in place of measuring")
    options = parser.parse_args(argv)
    if options.screenshots:
        screenshots(options.site, options.screenshots)
        return
    from keras_espmedsam.inference.load_models import load_segmenter

    report = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "site_mib": round(
            sum(f.stat().st_size for f in options.site.rglob("*") if f.is_file()) / 2**20, 1
        ),
        **measure(options.site, load_segmenter(options.preset)),
    }
    print(json.dumps({name: value for name, value in report.items() if name != "rows"}, indent=1))
    if options.output:
        options.output.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
